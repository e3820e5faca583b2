"""Asks a control socket: one request at a time, waiting for the answer or for it to be readable."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from polevpn_trio.control.log import printable
from polevpn_trio.errors import PoleVpnError
from polevpn_trio.management.api import Request
from polevpn_trio.management.instances import folders, sockets

ANSWER_SECONDS = 10.0
"""How long a program may take to answer, beside what it was asked to wait."""

RECEIVE_BYTES = 65_536

LONGEST_ANSWER = 256 << 20
"""Bytes; thousands of sites with all their counters take a tenth of it."""


class NoAnswer(PoleVpnError):
    """A program cannot be asked, or does not answer as it should."""


class ControlClient:
    """A connection to a program's control socket."""

    def __init__(self, path: Path) -> None:
        """Connect. Raises NoAnswer."""
        self.path = path
        self._buffer = bytearray()
        self._searched = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(ANSWER_SECONDS)
            _connect(self._socket, path)
        except OSError as error:
            self._socket.close()
            raise _no_answer(path, error) from error

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """Of the socket, to wait until `receive` has something to do."""
        return self._socket.fileno()

    def call(self, method: str, wait: float = 0.0, **params: object) -> dict[str, Any]:
        """Ask, and return the result; ``wait`` is how long the program is asked to take.

        Raises NoAnswer.
        """
        self.ask(method, **params)
        return self.wait(wait)

    def wait(self, longer: float = 0.0) -> dict[str, Any]:
        """Return the result of what was asked. Raises NoAnswer."""
        self._socket.settimeout(ANSWER_SECONDS + longer)
        while True:
            result = self.receive()
            if result is not None:
                return result

    def follow(self, method: str, **params: object) -> Iterator[dict[str, Any]]:
        """Ask, and give all results that come, for as long as the program lives."""
        self.ask(method, **params)
        self._socket.settimeout(None)
        while True:
            result = self.receive()
            if result is not None:
                yield result

    def ask(self, method: str, **params: object) -> None:
        """Send a request."""
        try:
            self._socket.sendall(Request(method, params).to_json())
        except OSError as error:
            raise _no_answer(self.path, error) from error

    def receive(self) -> dict[str, Any] | None:
        """Take some of the answer from the socket; return its result once it is complete."""
        line = self._take_line()
        if line is None:
            try:
                data = self._socket.recv(RECEIVE_BYTES)
            except OSError as error:
                raise _no_answer(self.path, error) from error
            if not data:
                raise NoAnswer(f"{self.path}: the program has ended")
            self._buffer += data
            if len(self._buffer) > LONGEST_ANSWER:
                raise NoAnswer(f"{self.path}: an answer that is too long")
            line = self._take_line()
        return None if line is None else self._result(line)

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        self._searched = len(self._buffer)
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def _result(self, line: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(line)
            if "error" in answer:
                error = NoAnswer(printable(str(answer["error"]["message"])))
            else:
                result: dict[str, Any] = answer["result"]
                return result
        except (ValueError, KeyError, TypeError):
            error = NoAnswer(f"{self.path}: not the control socket of a polevpn_trio")
        raise error


def _connect(asking: socket.socket, path: Path) -> None:
    try:
        asking.connect(str(path))
    except PermissionError:
        if os.geteuid() != 0:
            raise
        # Root in a container is often kept from other users' files, but may become their owner.
        os.seteuid(path.stat().st_uid)
        try:
            asking.connect(str(path))
        finally:
            os.seteuid(0)


def _no_answer(path: Path, error: OSError) -> NoAnswer:
    if isinstance(error, TimeoutError):
        return NoAnswer(
            f"{path}: the program does not answer",
            advice="it is stopped or overloaded: see its log, and what `ps aux` says of it",
        )
    if error.errno == errno.EACCES:
        return NoAnswer(
            f"{path}: not permitted to ask this program",
            advice="ask as its user or as root, or let your group do so: control.group in its file",
        )
    if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
        return NoAnswer(f"{path}: no program answers here", advice="start it, and see its log")
    return NoAnswer(f"{path}: {(error.strerror or str(error)).lower()}")


def connect_all(path: Path | None) -> list[ControlClient]:
    """Connect to the socket at ``path``, or to all programs of this machine if it is None.

    Raises NoAnswer if nobody is there.
    """
    if path is not None:
        return [ControlClient(path)]
    clients = []
    problems = []
    for found in sockets():
        try:
            clients.append(ControlClient(found))
        except NoAnswer as problem:
            problems.append(problem)
    if clients:
        return clients
    for refused in problems:
        if isinstance(refused.__cause__, PermissionError):
            raise refused
    places = ", ".join(map(str, folders()))
    raise NoAnswer(
        f"no router or gateway answers on this machine (looked in {places})",
        advice="start one, or name its control socket with --socket",
    )


def connect_one(path: Path | None) -> ControlClient:
    """Connect to the one program of this machine. Raises NoAnswer if there are several."""
    clients = connect_all(path)
    first, *others = clients
    if others:
        names = " or ".join(str(client.path) for client in clients)
        for client in clients:
            client.__exit__(None, None, None)
        raise NoAnswer("several programs run on this machine", advice=f"--socket {names}")
    return first
