"""A router's certificate is replaced while it runs, for handshakes to come."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from polevpn_trio import router as router_module
from polevpn_trio.control.config import CertificatePair, ListenerConfig, RouterConfig
from polevpn_trio.control.site_directory import SiteDirectory
from polevpn_trio.errors import Refused
from polevpn_trio.management.reload import Source
from tests.test_login import BERLIN, SCHEMES, free_port, log_in
from tests.transport.test_links import fingerprint


@pytest.mark.parametrize("scheme", SCHEMES)
def test_handshakes_show_the_certificate_and_ask_for_one_as_the_last_reload_has_it(
    scheme: str, certificates: Any
) -> None:
    port = free_port()

    def config(pair: Any, digest: bytes, **site: Any) -> RouterConfig:
        listener = ListenerConfig(
            "127.0.0.1", port, pair.cert_file, pair.key_file, pair_digest=digest
        )
        sites = SiteDirectory({"berlin": attrs.evolve(BERLIN, **site)})
        return RouterConfig(Path("router.json"), "", listener, listener, sites)

    first, second = certificates.rsa, certificates.ecdsa
    own = CertificatePair(first.cert_file, first.key_file)
    changed = config(second, b"2", certificates=(fingerprint(first),))
    source = Source(lambda: changed)

    async def main() -> None:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(router_module.run, config(first, b"1"), source)
                while True:
                    with socket.socket() as probe:
                        if probe.connect_ex(("127.0.0.1", port)) == 0:
                            break
                    await trio.lowlevel.checkpoint()
                uplink = await log_in(scheme, port)
                assert uplink.link.identity.router_certificate == fingerprint(first)
                source.ask()
                while True:
                    try:
                        uplink = await log_in(scheme, port, certificate=own)
                    except Refused:
                        # By the new rules, after a handshake by the old ones.
                        continue
                    if uplink.link.identity.router_certificate == fingerprint(second):
                        break
                assert uplink.link.identity.gateway_certificate == fingerprint(first)
                with pytest.raises(Refused, match="unknown site"):
                    await log_in(scheme, port)
                nursery.cancel_scope.cancel()

    trio.run(main)
