"""Asking a control socket, and what becomes of those who do not answer."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from polevpn_trio.commands.client import ControlClient, NoAnswer, connect_all, connect_one
from tests.management.programs import running_router


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with TemporaryDirectory(prefix="polevpn-") as made:
        monkeypatch.setenv("RUNTIME_DIRECTORY", made)
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        yield Path(made)


def test_programs_are_found_and_asked(folder: Path) -> None:
    with running_router(folder / "a.sock"):
        with connect_one(None) as client:
            assert client.call("status")["instance"] == "a"
            with pytest.raises(NoAnswer, match="unknown method"):
                client.call("reboot")
            assert client.call("tree")["name"] == "router"
        with running_router(folder / "b.sock"):
            clients = connect_all(None)
            assert [client.call("status")["instance"] for client in clients] == ["a", "b"]
            for client in clients:
                client.__exit__(None, None, None)
            with pytest.raises(NoAnswer, match="several programs") as caught:
                connect_one(None)
            assert "b.sock" in caught.value.advice
            with connect_one(folder / "b.sock") as client:
                assert client.call("status")["instance"] == "b"


def test_stale_sockets_are_passed_over(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(folder / "a.sock"))
    with running_router(folder / "b.sock"), connect_one(None) as client:
        assert client.call("status")["instance"] == "b"
    with pytest.raises(NoAnswer, match="no router or gateway answers") as caught:
        connect_all(None)
    assert "--socket" in caught.value.advice
    with pytest.raises(NoAnswer, match="no program answers here"):
        connect_one(folder / "a.sock")


def test_who_may_not_ask_is_told_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    (folder / "a.sock").touch()
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(NoAnswer, match="not permitted") as caught:
        connect_all(None)
    assert "control.group" in caught.value.advice


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400\n", b"[]\n", b"{}\n", b'{"error": 5}\n', b"", b"\xff\n"]
)
def test_what_is_no_control_socket_is_told_so(folder: Path, answer: bytes) -> None:
    path = folder / "x.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with ControlClient(path) as client, pytest.raises(NoAnswer, match=r"x\.sock"):
            client.call("status")
        thread.join()


def test_what_cannot_be_a_socket_is_told_so(folder: Path) -> None:
    path = folder / ("x" * 200)
    with pytest.raises((NoAnswer, OSError)):
        ControlClient(path)
    assert os.listdir(folder) == []
