"""The dashboard as a part of a router: it is an extra, and nothing of it may hold up the rest."""

from __future__ import annotations

import importlib.util
import logging
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import attrs
import h11
import pytest
import trio
import trio.testing

from polevpn_trio.control.control_config import ControlConfig
from polevpn_trio.control.dashboard_config import DashboardConfig
from polevpn_trio.dashboard import recorder, server
from polevpn_trio.dashboard.service import DashboardService
from polevpn_trio.dashboard.store import HistoryStore
from polevpn_trio.doctor.finding import Status
from polevpn_trio.doctor.surroundings import judge_packages
from polevpn_trio.errors import HostError
from polevpn_trio.management.service import managed
from polevpn_trio.nursery_tree import Branch, open_root
from tests.conftest import Certificates
from tests.dashboard.clients import Client
from tests.dashboard.worlds import TOKEN, dashboard_of
from tests.management.programs import BrokenView, router_view


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(recorder, "LOOK_SECONDS", 0.05)
    package = logging.getLogger("polevpn_trio")
    level = package.level
    package.setLevel(logging.INFO)
    yield
    package.setLevel(level)


async def served(folder: Path, port: int = 0) -> None:
    """Start a dashboard as a router does, and end it."""
    config = DashboardConfig("127.0.0.1", port, TOKEN, folder / "history.sqlite")
    with managed("router", Path("router.json"), ControlConfig(enabled=False), ()) as program:
        async with open_root("router") as root:
            DashboardService(root, router_view(program, root)).start(config)
            await trio.testing.wait_all_tasks_blocked()
            assert [child.name for child in root.snapshot().children] == ["dashboard"]
            root.nursery.cancel_scope.cancel()


def host_error(folder: Path, port: int = 0) -> HostError:
    """The error that a router ends with."""
    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(served, folder, port)
    [error] = caught.value.exceptions
    assert isinstance(error, HostError)
    return error


def test_it_is_a_branch_of_the_tree_and_ends_with_it(tmp_path: Path) -> None:
    trio.run(served, tmp_path)


@pytest.mark.parametrize(
    ("absent", "told"),
    [
        ({"starlette"}, "starlette is not installed"),
        ({"hypercorn", "starlette"}, "hypercorn and starlette are not installed"),
    ],
)
def test_what_is_not_installed_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: set[str], told: str
) -> None:
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name in absent else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    error = host_error(tmp_path)
    assert told in str(error)
    command = f"{sys.executable} -m pip install {' '.join(sorted(absent))}"
    assert f"`{command}`" in error.advice
    [finding] = judge_packages()
    assert finding.status is Status.FAIL
    assert finding.remedy.startswith(command)


def changed_while_it_runs(
    folder: Path, body: Callable[[DashboardService, DashboardConfig, Branch], Awaitable[None]]
) -> None:
    """Call ``body`` with the service of a router, and what its dashboard has begun with."""

    async def main() -> None:
        port = free_port()
        config = DashboardConfig("127.0.0.1", port, TOKEN, folder / "history.sqlite")
        with managed("router", Path("router.json"), ControlConfig(enabled=False), ()) as program:
            with trio.fail_after(60):
                async with open_root("router") as root:
                    service = DashboardService(root, router_view(program, root))
                    service.start(config)
                    await body(service, config, root)
                    root.nursery.cancel_scope.cancel()

    trio.run(main)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def change(service: DashboardService, config: DashboardConfig | None) -> None:
    with service.changing(config) as go_on:
        go_on()


def client_of(config: DashboardConfig) -> Client:
    return Client(f"http://{config.host}:{config.port}/")


def test_another_token_ends_the_sessions_of_the_old_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(service: DashboardService, config: DashboardConfig, root: Branch) -> None:
        old, new = client_of(config), client_of(config)
        assert (await old.login()).status == 204
        change(service, attrs.evolve(config, token="another token, long enough"))
        assert (await new.login("another token, long enough")).status == 204
        assert (await old.get("/api/routes")).status == 401
        assert (await old.login()).status == 401
        assert [child.name for child in root.snapshot().children] == ["dashboard"]

    changed_while_it_runs(tmp_path, body)
    # The one before has let go of the file.
    assert "history is kept in memory" not in caplog.text


def test_sessions_outlive_what_is_not_about_them(tmp_path: Path) -> None:
    async def body(service: DashboardService, config: DashboardConfig, root: Branch) -> None:
        client = client_of(config)
        await client.login()
        change(service, attrs.evolve(config, history=tmp_path / "other.sqlite"))
        assert (await client.get("/api/routes")).status == 200
        assert (tmp_path / "other.sqlite").exists()

    changed_while_it_runs(tmp_path, body)


def test_it_moves_to_another_address(tmp_path: Path) -> None:
    async def body(service: DashboardService, config: DashboardConfig, root: Branch) -> None:
        elsewhere = attrs.evolve(config, port=free_port())
        change(service, elsewhere)
        assert (await client_of(elsewhere).login()).status == 204
        with pytest.raises(OSError, match="all attempts to connect"):
            await client_of(config).login()

    changed_while_it_runs(tmp_path, body)


def test_what_cannot_be_changes_nothing(tmp_path: Path) -> None:
    async def body(service: DashboardService, config: DashboardConfig, root: Branch) -> None:
        client = client_of(config)
        await client.login()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            elsewhere = attrs.evolve(config, port=taken.getsockname()[1])
            with pytest.raises(HostError, match="cannot listen"), service.changing(elsewhere):
                pytest.fail("it was to be refused")
        # Somebody else has refused the rest of the file.
        with service.changing(attrs.evolve(config, token="another token, long enough")):
            pass
        assert (await client.get("/api/routes")).status == 200

    changed_while_it_runs(tmp_path, body)


def test_it_is_switched_off_and_on(tmp_path: Path) -> None:
    async def body(service: DashboardService, config: DashboardConfig, root: Branch) -> None:
        off = service.dashboard.ended if service.dashboard else None
        change(service, None)
        assert off is not None
        await off.wait()
        with pytest.raises(OSError, match="all attempts to connect"):
            await client_of(config).login()
        change(service, config)
        assert (await client_of(config).login()).status == 204
        # At once again, and twice: the last one is in force, and each waits for the one before.
        change(service, attrs.evolve(config, token="another token, long enough"))
        change(service, config)
        assert (await client_of(config).login()).status == 204

    changed_while_it_runs(tmp_path, body)


def test_a_port_that_is_taken_is_told_in_a_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = host_error(tmp_path, taken.getsockname()[1])
    assert str(error).startswith("cannot listen on tcp 127.0.0.1:")
    assert str(error).endswith(": address already in use")
    assert "ss -lntp" in error.advice


def test_another_address_of_its_own_port_is_not_to_be_had_at_once(tmp_path: Path) -> None:
    async def body(service: DashboardService, config: DashboardConfig, root: Branch) -> None:
        everywhere = attrs.evolve(config, host="0.0.0.0")
        with pytest.raises(HostError) as caught:
            change(service, everywhere)
        assert '"enable": false' in caught.value.advice
        assert (await client_of(config).login()).status == 204
        running = service.dashboard
        assert running is not None
        change(service, None)
        await running.ended.wait()
        change(service, everywhere)

    changed_while_it_runs(tmp_path, body)


def test_a_fault_of_ours_ends_the_dashboard_and_not_the_router(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        config = DashboardConfig("127.0.0.1", 0, TOKEN, tmp_path / "history.sqlite")
        with managed("router", Path("router.json"), ControlConfig(enabled=False), ()) as program:
            with trio.fail_after(30):
                async with open_root("router") as root:
                    DashboardService(root, BrokenView(program)).start(config)
        assert [event.message for event in program.events.after(0, 10)][-1].startswith(
            "dashboard: internal error: ZeroDivisionError"
        )

    trio.run(main)


def test_a_damaged_history_is_set_aside_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "history.sqlite").write_bytes(b"no history" * 1000)
    trio.run(look_once, tmp_path)
    [aside] = tmp_path.glob("history.sqlite.damaged-*")
    assert aside.read_bytes() == b"no history" * 1000
    assert f"set aside as {aside.name}, history begins anew" in caplog.text


def test_a_history_that_another_program_has_is_kept_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = HistoryStore(tmp_path / "history.sqlite")
    try:
        trio.run(look_once, tmp_path)
    finally:
        store.close()
    assert "database is locked: history is kept in memory" in caplog.text


def test_history_is_written_out_at_the_end(tmp_path: Path) -> None:
    trio.run(look_once, tmp_path)
    store = HistoryStore(tmp_path / "history.sqlite")
    try:
        assert store.read("berlin", 0, 0)
    finally:
        store.close()


async def look_once(folder: Path) -> None:
    """Have a dashboard until it has told its first news."""
    async with dashboard_of(folder) as world:
        world.join("berlin", rate=1000.0)
        client = Client(world.url)
        await client.login()
        with trio.fail_after(30):
            async with client.following() as news:
                async for kind, _ in news:
                    if kind == "status":
                        break


def test_with_a_certificate_it_speaks_nothing_but_tls(
    tmp_path: Path, certificates: Certificates
) -> None:
    certificate = certificates.ecdsa
    trusting = ssl.create_default_context(cafile=str(certificate.cert_file))

    async def connect(host: str, port: int) -> trio.abc.Stream:
        return await trio.open_ssl_over_tcp_stream(
            host, port, https_compatible=True, ssl_context=trusting
        )

    async def main() -> None:
        async with dashboard_of(tmp_path, certificate=certificate) as world:
            assert world.url.startswith("https://127.0.0.1:")
            with trio.fail_after(30):
                answer = await Client(world.url, connect=connect).login()
                assert answer.status == 204
                assert "; secure" in answer.headers["set-cookie"].lower()
                with pytest.raises((h11.RemoteProtocolError, trio.BrokenResourceError)):
                    await Client(world.url).login()

    trio.run(main)


def test_a_browser_that_takes_nothing_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STUCK_SECONDS", 0.3)
    monkeypatch.setattr(recorder, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(recorder, "SITES_PER_SECOND", 1e6)

    async def main() -> None:
        async with dashboard_of(tmp_path) as world:
            for number in range(100):
                world.join(f"site-{number}")
            stuck, watching = Client(world.url, connect=with_small_buffer), Client(world.url)
            await stuck.login()
            await watching.login()
            async with stuck.following(), watching.following() as news:
                # Megabytes that one of them does not take: its buffers are full by then.
                for _ in range(15):
                    await anext(news)
                with trio.fail_after(60):
                    world.scope.cancel()
                    await world.ended.wait()

    trio.run(main)


async def with_small_buffer(host: str, port: int) -> trio.SocketStream:
    connection = trio.socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await connection.connect((host, port))
    return trio.SocketStream(connection)
