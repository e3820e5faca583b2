"""The Go gateway's side of a connection, and a scripted client that only does what it is told."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from tests.interop.classic_frames import (
    AUTH,
    C2S_IPDATA,
    CLIENT_CLOSED,
    HEART_BEAT,
    KICK_OUT,
    REGISTER,
    S2C_IPDATA,
    Frame,
    FrameError,
    FrameReader,
    frame,
    go_json,
    ipv4_fault,
    read_json,
    text_member,
)
from tests.interop.classic_links import Link, connect


class ClassicClient:
    """Scripted: sends what the test says, keeps what arrives."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.reader = FrameReader()
        self.frames: list[Frame] = []
        self.broken: list[str] = []

    @classmethod
    def connect(cls, scheme: str, address: tuple[str, int]) -> ClassicClient:
        return cls(connect(scheme, address))

    def sockets(self) -> list[socket.socket]:
        return self.link.sockets()

    def step(self, now: float) -> None:
        self.link.step(now)
        try:
            for item in self.reader.feed(self.link.take()):
                self.frames.append(item)
                self.on_frame(item, now)
        except FrameError as error:
            self.broken.append(f"router sent a bad frame: {error}")
            self.link.close()

    def close(self) -> None:
        self.link.close()

    def on_frame(self, item: Frame, now: float) -> None:
        """For subclasses."""

    @property
    def violations(self) -> list[str]:
        return self.link.violations + self.broken

    def send(self, command: int, payload: bytes = b"", sequence: int = 0) -> None:
        self.link.write(frame(command, payload, sequence))

    def auth(self, key: str) -> None:
        self.send(AUTH, go_json({"key": key}))

    def register(
        self, gateway: str, network: Any = (), *, key: str = "", sequence: int = 0
    ) -> None:
        if isinstance(network, tuple):
            network = list(network)
        body = {"gateway": gateway, "key": key, "network": network}
        self.send(REGISTER, go_json(body), sequence)

    def of(self, command: int) -> list[Frame]:
        return [item for item in self.frames if item.command == command]

    @property
    def packets(self) -> list[bytes]:
        return [item.payload for item in self.of(S2C_IPDATA)]


class ClassicGateway(ClassicClient):
    """Logs in, registers, beats; ``died`` where the Go process would have ended."""

    def __init__(
        self,
        connector: Callable[[], Link],
        *,
        key: str,
        gateway: str,
        networks: list[str] | None,
        beat: float = 10.0,
    ) -> None:
        self.connector = connector
        self.key, self.gateway, self.networks, self.beat = key, gateway, networks, beat
        self.died: str | None = None
        self.earlier_violations: list[str] = []
        self.reconnects = -1
        self.next_beat: float | None = None
        self.last_answer: float | None = None
        self.wants_reconnect = False
        super().__init__(connector())
        self._begin()

    def _begin(self) -> None:
        self.reconnects += 1
        self.authenticated = self.registered = False
        self.reader = FrameReader()
        self.auth(self.key)

    @property
    def violations(self) -> list[str]:
        return self.earlier_violations + super().violations

    def _die(self, why: str) -> None:
        self.died = self.died or why
        self.broken.append(f"ends the Go gateway: {why}")

    def step(self, now: float) -> None:
        if self.died is not None:
            return
        if self.next_beat is None:
            self.next_beat, self.last_answer = now + self.beat, now
        super().step(now)
        if self.link.closed is not None:
            self.wants_reconnect = True
        if now >= self.next_beat:
            self.next_beat += self.beat
            self._tick(now)

    def _tick(self, now: float) -> None:
        if self.last_answer is not None and now - self.last_answer > 2 * self.beat:
            self.link.close()
            self.wants_reconnect = True
        if self.wants_reconnect:
            self.wants_reconnect = False
            self.earlier_violations += self.link.violations
            self.link.close()
            self.link = self.connector()
            self.last_answer = now
            self._begin()
        elif self.registered:
            self.send(HEART_BEAT)

    def on_frame(self, item: Frame, now: float) -> None:
        if not self.authenticated:
            self._on_auth(item)
        elif item.command == REGISTER:
            self._on_register(item)
        elif item.command == S2C_IPDATA:
            self._on_data(item)
        elif item.command == HEART_BEAT:
            self.last_answer = now
            if item.payload:
                self.broken.append(f"heartbeat answer with payload {item.payload!r}")
            if item.sequence:
                self.broken.append(f"heartbeat answer with sequence {item.sequence}")
        elif item.command in (CLIENT_CLOSED, KICK_OUT):
            self.broken.append(f"command {item.command} on the wire")
            self.wants_reconnect |= item.command == CLIENT_CLOSED
        else:
            self.broken.append(f"command {item.command} sent to a classic gateway")

    def _answer(self, item: Frame, what: str) -> bool:
        try:
            value = read_json(item.payload)
        except ValueError:
            self._die(f"{what} answer is not JSON: {item.payload!r}")
            return False
        if error := text_member(value, "error"):
            self._die(f"{what} refused: {error}")
            return False
        if item.payload != b"{}":
            self.broken.append(f"{what} answer is {item.payload!r} instead of {{}}")
        return True

    def _on_auth(self, item: Frame) -> None:
        if item.command != AUTH or item.sequence != 0:
            self.broken.append(f"AUTH answered by command {item.command} sequence {item.sequence}")
        if self._answer(item, "AUTH"):
            self.authenticated = True
            self.register(self.gateway, self.networks, key=self.key)
            if self.reconnects:
                self.send(HEART_BEAT)

    def _on_register(self, item: Frame) -> None:
        if self._answer(item, "REGISTER"):
            self.registered = True

    def _on_data(self, item: Frame) -> None:
        if not self.registered:
            self._die("IP data before the REGISTER answer")
        elif len(item.payload) < 16:
            self.broken.append(f"IP data of {len(item.payload)} bytes")
            self.link.close()
        elif item.payload[0] >> 4 != 4:
            self._die(f"IP version {item.payload[0] >> 4} written to the TUN")
        elif fault := ipv4_fault(item.payload):
            self.broken.append(fault)

    def send_packet(self, packet: bytes) -> None:
        self.send(C2S_IPDATA, packet)
