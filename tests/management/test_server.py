"""The control socket: answers, and what is done about clients that misbehave."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio
import trio.testing

from polevpn_trio.control.control_config import ControlConfig
from polevpn_trio.management import api, server
from polevpn_trio.management.server import MOST_CONNECTIONS
from polevpn_trio.management.service import managed, start_control
from polevpn_trio.management.view import View
from polevpn_trio.nursery_tree import open_root
from tests.management.programs import BrokenView, Reloads, router_view

log = logging.getLogger("polevpn_trio.test")


class Client:
    """Speaks with the socket, at Trio's pace."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def say(self, line: bytes) -> None:
        await self.stream.send_all(line + b"\n")

    async def hear(self) -> Any:
        while b"\n" not in self._buffer:
            data = await self.stream.receive_some()
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    async def ask(self, method: str, **params: object) -> Any:
        await self.say(api.Request(method, params, "x").to_json().rstrip())
        answer = await self.hear()
        assert answer["id"] == "x"
        return answer.get("result", answer)


class World:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        self.clients.append(Client(await trio.open_unix_socket(self.path)))
        return self.clients[-1]


@pytest.fixture
def path() -> Iterator[Path]:
    with TemporaryDirectory(prefix="polevpn-") as folder:
        yield Path(folder) / "x.sock"


@pytest.fixture(autouse=True)
def _informative() -> Iterator[None]:
    package = logging.getLogger("polevpn_trio")
    level = package.level
    package.setLevel(logging.INFO)
    yield
    package.setLevel(level)


def with_server(
    path: Path,
    body: Callable[[World], Awaitable[None]],
    view: Callable[..., View] = router_view,
) -> None:
    async def main() -> None:
        config = ControlConfig(path=path)
        with managed("router", Path("router.json"), config, ()) as program:
            async with open_root("router") as root:
                await start_control(root, view(program, root), Reloads())
                world = World(path)
                with trio.fail_after(3600):
                    await body(world)
                for client in world.clients:
                    await client.stream.aclose()
                root.nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.05))


def test_answers_one_request_after_the_other(path: Path) -> None:
    async def body(world: World) -> None:
        client = await world.connect()
        status = await client.ask("status")
        assert (status["role"], status["instance"], status["state"]) == ("router", "x", "down")
        assert [site["state"] for site in status["sites"]] == ["up", "up", "down"]
        assert status["strangers"] == 7
        assert status["limited"] == {"handshakes_per_second": 5}
        assert status["sites"][0]["link"]["rates"] is None
        tree = await client.ask("tree")
        assert [child["name"] for child in tree["children"]] == ["control"]
        assert tree["children"][0]["statistics"]["requests"] == 2
        routes = await client.ask("routes", offset=1, most=2)
        assert (len(routes["routes"]), routes["total"]) == (2, 5)
        way = await client.ask("explain", source="192.168.1.1", destination="192.168.2.1")
        assert (way["verdict"], way["site"]) == ("delivered", "oslo")
        more = {"protocol": "icmp"}
        way = await client.ask("explain", source="10.8.0.1", destination="10.8.0.2", **more)
        assert way["verdict"] == "delivered"

    with_server(path, body)


def test_a_reload_says_what_became_of_it(path: Path) -> None:
    async def body(world: World) -> None:
        client = await world.connect()
        assert (await client.ask("confirm"))["outcome"] == "refused"
        answer = await client.ask("reload", confirm=30)
        assert answer["confirm_within"] == 30
        assert answer["applied"] == [
            {"key": "gateways", "effect": "at once", "detail": "removed rome"}
        ]
        assert answer["restart"] == ["tls.listen"]
        assert (await client.ask("reload"))["confirm_within"] is None
        assert (await client.ask("confirm"))["outcome"] == "confirmed"
        for wrong in ({"confirm": -1}, {"confirm": 3601}, {"within": 3}):
            assert (await client.ask("reload", **wrong))["error"]["code"] == api.BAD_PARAMS

    with_server(path, body)


def test_only_its_user_and_root_may_change_a_program(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(world: World) -> None:
        client = await world.connect()
        for user, me, may in ((0, 1000, True), (1000, 1000, True), (1001, 1000, False)):
            monkeypatch.setattr(server, "peer_user", lambda _, user=user: user)
            monkeypatch.setattr(os, "geteuid", lambda me=me: me)
            for method in ("reload", "confirm"):
                answer = await client.ask(method)
                assert ("error" not in answer) == may
                assert may or answer["error"]["code"] == api.FORBIDDEN
            assert "error" not in await client.ask("status")

    with_server(path, body)


def test_rates_are_measured_over_the_time_asked_for(path: Path) -> None:
    async def body(world: World) -> None:
        client = await world.connect()
        before = trio.current_time()
        status = await client.ask("status", over=5)
        assert trio.current_time() - before == pytest.approx(5, abs=0.5)
        rates = status["sites"][0]["link"]["rates"]
        assert rates["seconds"] == pytest.approx(5, abs=0.5)
        assert rates["bytes_sent"] == 0

    with_server(path, body)


def test_mistakes_are_answered_and_the_client_may_go_on(path: Path) -> None:
    async def body(world: World) -> None:
        client = await world.connect()
        for line, code in (
            (b"hello", "bad-request"),
            (b'{"version": 1, "method": "reboot"}', "unknown-method"),
            (b'{"version": 1, "method": "status", "params": {"ovr": 1}}', "bad-params"),
            (b'{"version": 1, "method": "routes", "params": {"most": -1}}', "bad-params"),
            (
                b'{"version": 1, "method": "explain", "params": '
                b'{"source": "10.0.0.1", "destination": "fd00::1"}}',
                "bad-params",
            ),
        ):
            await client.say(line)
            assert (await client.hear())["error"]["code"] == code
        assert (await client.ask("status"))["role"] == "router"

    with_server(path, body)


def test_a_request_without_an_end_ends_the_connection(path: Path) -> None:
    async def body(world: World) -> None:
        client = await world.connect()
        await client.stream.send_all(b"x" * (api.LONGEST_REQUEST + 1))
        assert (await client.hear())["error"]["code"] == "bad-request"
        assert await client.hear() is None

    with_server(path, body)


def test_too_many_clients_are_turned_away_until_some_leave(path: Path) -> None:
    async def body(world: World) -> None:
        clients = [await world.connect() for _ in range(MOST_CONNECTIONS)]
        for client in clients:
            assert await client.ask("tree")
        late = await world.connect()
        assert (await late.hear())["error"]["code"] == "busy"
        assert await late.hear() is None
        await clients[0].stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (await (await world.connect()).ask("status"))["role"] == "router"

    with_server(path, body)


def test_who_says_nothing_is_let_go(path: Path) -> None:
    async def body(world: World) -> None:
        client = await world.connect()
        await client.say(b'{"version": 1, ')
        before = trio.current_time()
        assert await client.hear() is not None
        assert await client.hear() is None
        assert trio.current_time() - before == pytest.approx(server.IDLE_SECONDS, rel=0.1)

    with_server(path, body)


def test_who_takes_nothing_of_the_answers_is_let_go(path: Path) -> None:
    async def body(world: World) -> None:
        client = await world.connect()
        client.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        request = api.Request("tree").to_json()
        # Far more answers than the buffers hold.
        with pytest.raises(trio.BrokenResourceError):
            await client.stream.send_all(request * 20_000)

    with_server(path, body)


def test_events_are_those_after_a_number_and_may_be_followed(path: Path) -> None:
    async def body(world: World) -> None:
        client, follower = await world.connect(), await world.connect()
        first = await client.ask("events", most=1)
        assert first["events"][-1]["message"].startswith("answering questions at ")
        log.info("one")
        found = await client.ask("events", after=first["last"])
        assert [event["message"] for event in found["events"]] == ["one"]
        following = api.Request("events", {"after": first["last"], "follow": True}, 5)
        await follower.say(following.to_json().rstrip())
        heard = await follower.hear()
        assert (heard["id"], len(heard["result"]["events"])) == (5, 1)
        thread = threading.Thread(target=log.warning, args=("two",))
        thread.start()
        thread.join()
        [event] = (await follower.hear())["result"]["events"]
        assert (event["message"], event["level"]) == ("two", "warning")
        await follower.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        log.info("three")
        assert (await client.ask("events", most=1))["events"][0]["message"] == "three"

    with_server(path, body)


def test_events_that_are_forgotten_are_counted(path: Path) -> None:
    async def body(world: World) -> None:
        client = await world.connect()
        for number in range(1100):
            log.info("%d", number)
        found = await client.ask("events", after=1, most=5)
        assert found["missed"] == found["last"] - 1000 - 1
        assert len(found["events"]) == 5

    with_server(path, body)


def test_a_fault_of_ours_ends_that_client_alone(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(world: World) -> None:
        client = await world.connect()
        await client.say(api.Request("status").to_json().rstrip())
        assert await client.hear() is None
        events = await (await world.connect()).ask("events")
        assert "internal error: ZeroDivisionError" in events["events"][-1]["message"]

    with_server(path, body, lambda program, root: BrokenView(program))
