"""Logins of a real gateway at a real router's listeners, over loopback."""

from __future__ import annotations

import datetime
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from polevpn_trio import router as router_module
from polevpn_trio.control.config import (
    CertificatePair,
    GatewayConfig,
    ListenerConfig,
    RouterConfig,
    ServerUrl,
    SiteConfig,
)
from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.control.registration import FEATURES, features_over
from polevpn_trio.control.router_trust import Insecure
from polevpn_trio.control.site_directory import KnownSite, SiteDirectory
from polevpn_trio.errors import Refused
from polevpn_trio.gateway import Gateway
from polevpn_trio.nursery_tree import open_root
from polevpn_trio.site import Site
from polevpn_trio.transport import tls
from polevpn_trio.transport.dial import Dialer
from polevpn_trio.uplink import Uplink
from tests.memory_device import MemoryDevice
from tests.transport.test_links import fingerprint

SCHEMES = ("kcp", "tls", "wss")
KEY = "berlin's own key"
BERLIN = KnownSite(
    "berlin",
    Path("berlin.json"),
    verifiers=(SiteKey.derive(KEY, "berlin").verifier,),
    addresses=frozenset({ip_address("10.8.0.2")}),
)
SITE = SiteConfig(gateway=ip_address("10.8.0.2"))  # type: ignore[arg-type]  # it is IPv4


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


async def _nothing_to_do(_: object) -> None:
    await trio.lowlevel.checkpoint()


@asynccontextmanager
async def router(certificate: Any, site: KnownSite = BERLIN) -> AsyncIterator[int]:
    """Run a router that knows one site, on one port for all schemes."""
    port = free_port()
    listener = ListenerConfig("127.0.0.1", port, certificate.cert_file, certificate.key_file)
    config = RouterConfig(
        Path("router.json"), "", listener, listener, SiteDirectory({site.name: site})
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(router_module.run, config)
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                await trio.lowlevel.checkpoint()
            yield port
            nursery.cancel_scope.cancel()


async def log_in(
    scheme: str,
    port: int,
    *,
    key: str = KEY,
    name: str = "berlin",
    certificate: CertificatePair | None = None,
) -> Uplink:
    """Let a gateway log in once; its link is closed by then. Raises Refused."""
    server = ServerUrl(scheme, "127.0.0.1", port, "/", f"{scheme}://127.0.0.1:{port}")
    config = GatewayConfig(
        Path("gateway.json"), (server,), key, SITE, Insecure(), name, certificate
    )
    async with open_root("gateway") as root:
        dialer = Dialer(
            config.kcp_options, 5.0, _nothing_to_do, Insecure(), certificate=certificate
        )
        site = Site(SITE, MemoryDevice(), None)  # type: ignore[arg-type]  # in memory
        outcome: Uplink | Refused
        try:
            outcome = await Gateway(config, site, dialer, root).log_in(0)
            outcome.link.close()
        except Refused as error:
            outcome = error
        root.nursery.cancel_scope.cancel()
    if isinstance(outcome, Refused):
        raise outcome
    return outcome


def refused(scheme: str, certificates: Any, site: KnownSite = BERLIN, **login: Any) -> str:
    """Try a login that is to be refused; return the reason that the gateway hears."""

    async def main() -> str:
        async with router(certificates.ecdsa, site) as port:
            with pytest.raises(Refused) as caught:
                await log_in(scheme, port, **login)
            return str(caught.value)

    return trio.run(main)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_known_site_is_let_in_and_both_have_proved_who_they_are(
    scheme: str, certificates: Any
) -> None:
    async def main() -> None:
        async with router(certificates.rsa) as port:
            uplink = await log_in(scheme, port)
            assert uplink.proved
            assert uplink.native == frozenset(features_over(scheme == "kcp", FEATURES))

    trio.run(main)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("login", [{"key": "another"}, {"name": "paris"}, {"name": ""}])
def test_a_stranger_hears_that_it_is_not_known(
    login: dict[str, Any], scheme: str, certificates: Any
) -> None:
    assert "unknown site or wrong key" in refused(scheme, certificates, **login)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_site_that_is_not_let_in_hears_why(scheme: str, certificates: Any) -> None:
    site = attrs.evolve(BERLIN, disabled=True)
    assert "site berlin is disabled" in refused(scheme, certificates, site)
    site = attrs.evolve(BERLIN, expires=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    assert "expired on 2020-01-01 00:00 UTC" in refused(scheme, certificates, site)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_a_site_is_known_by_its_certificate_and_its_key_must_be_there(
    kind: str, scheme: str, certificates: Any
) -> None:
    own, other = getattr(certificates, kind), certificates.ecdsa
    if kind == "ecdsa":
        other = certificates.rsa
    site = attrs.evolve(BERLIN, verifiers=(), certificates=(fingerprint(own),))

    async def main() -> None:
        async with router(certificates.ecdsa, site) as port:
            pair = CertificatePair(own.cert_file, own.key_file)
            uplink = await log_in(scheme, port, key="", certificate=pair)
            assert uplink.link.identity.gateway_certificate == fingerprint(own)
            for wrong in (None, CertificatePair(other.cert_file, other.key_file)):
                with pytest.raises(Refused, match="unknown site"):
                    await log_in(scheme, port, key="", certificate=wrong)

    trio.run(main)


def test_who_stands_in_between_gets_nobody_in(certificates: Any) -> None:
    """A relay that the gateway takes for the router, and that passes all on, word for word."""

    async def relay(port: int, listener: trio.SocketListener) -> None:
        accepted = await listener.accept()
        context = tls.server_context(certificates.rsa.cert_file, certificates.rsa.key_file)
        plain = socket.socket(fileno=accepted.socket.detach())
        gateway = await tls.TlsStream.handshake(plain, context)
        calling = await trio.open_tcp_stream("127.0.0.1", port)
        plain = socket.socket(fileno=calling.socket.detach())
        there = await tls.TlsStream.handshake(plain, tls.client_context(), server_name="127.0.0.1")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pass_on, gateway, there)
                await pass_on(there, gateway)
                nursery.cancel_scope.cancel()
        finally:
            gateway.close()
            there.close()

    async def pass_on(one: tls.TlsStream, other: tls.TlsStream) -> None:
        while data := await one.receive_some():
            await other.send_all(data)

    async def main() -> None:
        # Even if it has stolen the router's certificate and key.
        async with router(certificates.rsa) as port, trio.open_nursery() as nursery:
            await log_in("tls", port)
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(partial(relay, port, listener))
            with pytest.raises(Refused, match="unknown site or wrong key"):
                await log_in("tls", listener.socket.getsockname()[1])
            nursery.cancel_scope.cancel()
            await listener.aclose()

    trio.run(main)
