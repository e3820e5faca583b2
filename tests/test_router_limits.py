"""The limits of a router over loopback: who is turned away, and that it is counted."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from polevpn_trio.control.config import ListenerConfig, RouterConfig
from polevpn_trio.control.limits import Limits
from polevpn_trio.errors import LinkLost
from polevpn_trio.hub import Router
from polevpn_trio.listeners import listen_tcp, listen_udp
from polevpn_trio.nursery_tree import open_root
from polevpn_trio.transport import dtls
from polevpn_trio.transport.udp import UdpSocket
from tests.test_router_listeners import free_port, logs_in, secured, until_closed


@asynccontextmanager
async def listening(certificate: Any, scheme: str, limits: Limits) -> AsyncIterator[Any]:
    """Run one listener of a router, and give the router and the port."""
    port = free_port()
    listener = ListenerConfig("127.0.0.1", port, certificate.cert_file, certificate.key_file)
    config = RouterConfig(
        Path("router.json"),
        "secret",
        kcp=listener if scheme == "kcp" else None,
        tls=listener if scheme == "tls" else None,
        limits=limits,
    )
    listen = listen_udp if scheme == "kcp" else listen_tcp
    with trio.fail_after(20):
        async with open_root("router") as root:
            router = Router(config, root)
            await root.nursery.start(listen, router, listener)
            yield router, port
            root.nursery.cancel_scope.cancel()


def test_too_many_tcp_connections_of_one_address_are_closed_before_any_handshake(
    certificates: Any,
) -> None:
    async def main() -> None:
        limits = Limits(connections_per_source=3)
        async with listening(certificates.ecdsa, "tls", limits) as (router, port):
            held = [await secured(port) for _ in range(3)]
            for _ in range(5):
                await until_closed(await trio.open_tcp_stream("127.0.0.1", port))
            assert router.admission.statistics().refused == {"connections_per_source": 5}
            assert router.strangers.count == 5
            await trio.aclose_forcefully(held.pop())
            with trio.fail_after(5):
                while router.admission.statistics().connections > 2:
                    await trio.lowlevel.checkpoint()
            await logs_in(port)
            for stream in held:
                await trio.aclose_forcefully(stream)

    trio.run(main)


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(source_handshakes_per_second=0, source_handshake_burst=4), "source_handshakes"),
        (Limits(handshakes_per_second=0, handshake_burst=4), "handshakes"),
    ],
)
def test_who_guesses_keys_at_full_speed_gets_no_more_handshakes(
    certificates: Any, limits: Limits, name: str
) -> None:
    async def main() -> None:
        async with listening(certificates.ecdsa, "tls", limits) as (router, port):
            for _ in range(4):
                await trio.aclose_forcefully(await secured(port))
            for _ in range(36):
                await until_closed(await trio.open_tcp_stream("127.0.0.1", port))
            assert router.admission.statistics().refused == {f"{name}_per_second": 36}
            router.admission.limit(Limits(), trio.current_time())
            await logs_in(port)

    trio.run(main)


def test_kcp_keeps_to_the_same_limits(certificates: Any) -> None:
    async def main() -> None:
        limits = Limits(source_handshakes_per_second=0, source_handshake_burst=2)
        async with listening(certificates.ecdsa, "kcp", limits) as (router, port):
            for number in range(3):
                address = ("127.0.0.1", port)
                endpoint = dtls.DtlsEndpoint(UdpSocket.connect(address))
                async with trio.open_nursery() as nursery:
                    await nursery.start(endpoint.run)
                    with contextlib.ExitStack() as stack:
                        if number == 2:
                            stack.enter_context(pytest.raises(LinkLost, match="not finished"))
                        await endpoint.connect(
                            address, dtls.client_context(), timeout=0.5 if number == 2 else 10
                        )
                    endpoint.close()
            refused = router.admission.statistics().refused
            assert refused.keys() == {"source_handshakes_per_second"}

    trio.run(main)
