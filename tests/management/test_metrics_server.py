"""Metrics over HTTP, asked by real clients on loopback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from polevpn_trio.control.control_config import ControlConfig
from polevpn_trio.control.metrics_config import MetricsConfig
from polevpn_trio.errors import HostError
from polevpn_trio.management import metrics_server
from polevpn_trio.management.metrics_server import MetricsServer, open_listeners
from polevpn_trio.management.service import managed, start_metrics
from polevpn_trio.management.view import View
from polevpn_trio.nursery_tree import open_root
from tests.management.programs import BrokenView, router_view

GET = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"


class Client:
    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def ask(self, request: bytes, *, body: bool = True) -> tuple[int, str, str]:
        """Return status, head and body of the answer."""
        await self.stream.send_all(request)
        while b"\r\n\r\n" not in self._buffer:
            await self._receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        size = int(fields["Content-Length"]) if body else 0
        while len(self._buffer) < size:
            await self._receive()
        text, self._buffer = self._buffer[:size], self._buffer[size:]
        return int(head.split()[1]), head.decode(), text.decode()

    async def _receive(self) -> None:
        data = await self.stream.receive_some()
        assert data
        self._buffer += data

    async def is_closed(self) -> bool:
        try:
            return await self.stream.receive_some() == b""
        except trio.BrokenResourceError:
            return True


Connect = Callable[[], Awaitable[Client]]


def with_server(
    check: Callable[[Connect, MetricsServer], Awaitable[None]],
    view_of: Callable[..., View] = router_view,
    clock: trio.abc.Clock | None = None,
) -> None:
    async def main() -> None:
        config = ControlConfig(enabled=False)
        with managed("router", Path("router.json"), config, ()) as program:
            async with open_root("router") as root:
                server = MetricsServer(view_of(program, root))
                listeners = await open_listeners(MetricsConfig("127.0.0.1", 0))
                await root.nursery.start(server.serve, listeners)
                port = listeners[0].socket.getsockname()[1]

                async with AsyncExitStack() as stack:

                    async def connect() -> Client:
                        stream = await trio.open_tcp_stream("127.0.0.1", port)
                        return Client(await stack.enter_async_context(stream))

                    await check(connect, server)
                root.nursery.cancel_scope.cancel()

    trio.run(main, clock=clock)


def test_a_scrape_is_what_prometheus_reads() -> None:
    async def check(connect: Connect, server: MetricsServer) -> None:
        client = await connect()
        for _ in range(2):
            status, head, body = await client.ask(GET)
            assert status == 200
            assert "text/plain; version=0.0.4" in head
            families = {family.name: family for family in text_string_to_metric_families(body)}
            up = {s.labels["site"]: s.value for s in families["polevpn_site_up"].samples}
            assert up == {"berlin": 1, "oslo": 1, "paris": 0}
            assert families["process_open_fds"].samples[0].value > 2
        assert server.statistics().scrapes == 2

    with_server(check)


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        (b"HEAD /metrics HTTP/1.1", 200),
        (b"GET / HTTP/1.1", 404),
        (b"POST /metrics HTTP/1.1", 405),
        (b"GET metrics HTTP/1.1", 400),
        (b"GET /metrics HTTP/2.0", 505),
    ],
)
def test_other_requests(request_line: bytes, expected: int) -> None:
    async def check(connect: Connect, server: MetricsServer) -> None:
        client = await connect()
        is_head = request_line.startswith(b"HEAD")
        status, _, _ = await client.ask(request_line + b"\r\nHost: here\r\n\r\n", body=not is_head)
        assert status == expected

    with_server(check)


def test_a_connection_ends_when_the_client_wants_it() -> None:
    async def check(connect: Connect, server: MetricsServer) -> None:
        client = await connect()
        await client.ask(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert await client.is_closed()

    with_server(check)


def test_clients_beyond_the_bound_are_turned_away_and_counted() -> None:
    async def check(connect: Connect, server: MetricsServer) -> None:
        clients = [await connect() for _ in range(metrics_server.MOST_CONNECTIONS)]
        for client in clients:
            await client.ask(GET)
        late = await connect()
        assert await late.is_closed()
        assert server.statistics().refused == 1
        await clients[0].stream.aclose()
        while server.statistics().connections == metrics_server.MOST_CONNECTIONS:
            await trio.lowlevel.checkpoint()
        assert (await (await connect()).ask(GET))[0] == 200

    with_server(check)


def test_a_client_that_says_nothing_is_let_go() -> None:
    async def check(connect: Connect, server: MetricsServer) -> None:
        silent = await connect()
        assert await silent.is_closed()

    with_server(check, clock=trio.testing.MockClock(rate=200))


def test_a_fault_ends_one_scrape_and_not_the_program(caplog: pytest.LogCaptureFixture) -> None:
    async def check(connect: Connect, server: MetricsServer) -> None:
        client = await connect()
        await client.stream.send_all(GET)
        assert await client.is_closed()
        assert (await (await connect()).ask(GET.replace(b"metrics", b"else")))[0] == 404

    with_server(check, lambda program, root: BrokenView(program))
    assert "ZeroDivisionError" in caplog.text


def test_an_address_that_is_taken_is_an_error_of_this_machine() -> None:
    async def main() -> None:
        first = await open_listeners(MetricsConfig("127.0.0.1", 0))
        port = first[0].socket.getsockname()[1]
        with pytest.raises(HostError, match=f"cannot listen on tcp 127.0.0.1:{port}") as caught:
            await open_listeners(MetricsConfig("127.0.0.1", port))
        assert "ss -lntp" in caught.value.advice
        await first[0].aclose()

    trio.run(main)


def test_nothing_listens_unless_it_is_configured() -> None:
    async def main() -> None:
        config = ControlConfig(enabled=False)
        with managed("router", Path("router.json"), config, ()) as program:
            async with open_root("router") as root:
                view = router_view(program, root)
                await start_metrics(root, view, None)
                assert [node.name for node in view.tree().children] == []
                await start_metrics(root, view, MetricsConfig("127.0.0.1", 0))
                assert [node.name for node in view.tree().children] == ["metrics"]
                root.nursery.cancel_scope.cancel()

    trio.run(main)
