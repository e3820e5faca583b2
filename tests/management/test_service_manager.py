"""What systemd is told, over a real socket, while a program runs."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
import trio.testing

from polevpn_trio.control.control_config import ControlConfig
from polevpn_trio.management.service import managed
from polevpn_trio.management.service_manager import (
    ServiceManager,
    service_manager,
    start_service_manager,
    summary,
)
from polevpn_trio.management.view import View
from polevpn_trio.nursery_tree import open_root
from tests.management.programs import BrokenView, router_view
from tests.management.test_metrics import router, site


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    with TemporaryDirectory(prefix="polevpn-") as folder:
        yield f"{folder}/notify" if request.param == "path" else f"@{secrets.token_hex(8)}"


@pytest.fixture
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind("\0" + address[1:] if address.startswith("@") else address)
        notified.setblocking(False)
        yield notified


def heard(listening: socket.socket) -> list[str]:
    """All lines that have come."""
    lines: list[str] = []
    while True:
        try:
            lines += listening.recv(4096).decode().split("\n")
        except BlockingIOError:
            return lines


def run(
    environment: dict[str, str],
    seconds: float,
    look: Callable[[], None] = lambda: None,
    view_of: Callable[..., View] = router_view,
) -> None:
    """Run a program of some virtual seconds, ``look`` at it, and end it."""

    async def main() -> None:
        config = ControlConfig(enabled=False)
        with managed("router", Path("router.json"), config, ()) as program:
            async with open_root("router") as root:
                manager = service_manager(environment)
                assert manager is not None
                start_service_manager(root, view_of(program, root), manager)
                await trio.sleep(seconds)
                await trio.testing.wait_all_tasks_blocked()
                look()
                root.nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_it_is_told_that_the_program_is_up_how_it_is_and_that_it_ends(
    address: str, listening: socket.socket
) -> None:
    first: list[str] = []
    run({"NOTIFY_SOCKET": address}, 1.0, lambda: first.extend(heard(listening)))
    status = "STATUS=sites: 2 up, 1 down; paris: nothing heard for 60 s"
    assert first == ["READY=1", "WATCHDOG=1", status]
    assert heard(listening) == ["STOPPING=1", "STATUS=ending"]


def test_the_watchdog_hears_often_enough(address: str, listening: socket.socket) -> None:
    run({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "6000000"}, 13.0)
    assert heard(listening).count("WATCHDOG=1") == 7


def test_a_fault_in_the_status_does_not_keep_the_watchdog_waiting(
    address: str, listening: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    run(
        {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"},
        11.0,
        view_of=lambda program, root: BrokenView(program),
    )
    lines = heard(listening)
    assert lines.count("WATCHDOG=1") == 2
    assert lines.count("READY=1") == 1
    assert "ZeroDivisionError" in caplog.text


def test_that_nobody_listens_any_more_hurts_nobody(address: str, listening: socket.socket) -> None:
    listening.close()
    run({"NOTIFY_SOCKET": address}, 30.0)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": ""}, None),
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, None),
        ({"NOTIFY_SOCKET": "/run/n"}, ServiceManager("/run/n")),
        ({"NOTIFY_SOCKET": "@n"}, ServiceManager("\0n")),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "9000000"}, ServiceManager("/n", 9.0)),
        (
            {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "9000000", "WATCHDOG_PID": str(os.getpid())},
            ServiceManager("/n", 9.0),
        ),
        # It watches another program, whose environment we have got.
        (
            {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "9000000", "WATCHDOG_PID": "1"},
            ServiceManager("/n"),
        ),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "soon"}, ServiceManager("/n")),
    ],
)
def test_who_has_started_us(environment: dict[str, str], expected: ServiceManager | None) -> None:
    assert service_manager(environment) == expected


def test_the_status_is_one_line() -> None:
    assert summary(router()) == "sites: none yet"
    assert summary(router(site("a"), site("b"))) == "sites: 2 up"
    assert summary(router(site("a"), site("b", "down"))) == "sites: 1 up, 1 down"
