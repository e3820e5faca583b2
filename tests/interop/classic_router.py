"""The Go router's side: one client at a time in accept, string-order routes, its idle check."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from tests.interop.classic_dtls import HANDSHAKE, make_context
from tests.interop.classic_frames import (
    AUTH,
    C2S_IPDATA,
    HEART_BEAT,
    REGISTER,
    S2C_IPDATA,
    Frame,
    FrameError,
    FrameReader,
    addresses,
    frame,
    go_json,
    ipv4_fault,
    read_json,
    text_member,
)
from tests.interop.classic_links import KcpLink, Link, TlsLink

QUEUE_FRAMES = 2000
HANDSHAKE_SECONDS = 30.0


class Connection:
    """One client of the router; what it did is kept for the test to look at."""

    def __init__(self, link: Link, peer: tuple[str, int], now: float) -> None:
        self.link, self.peer = link, peer
        self.reader = FrameReader()
        self.frames: list[Frame] = []
        self.times: list[float] = []
        self.since = self.last_activity = now
        self.authenticated = False
        self.gateways: list[str] = []
        self.networks: list[str] = []
        self.violations: list[str] = []
        self.ended: str | None = None
        self.waiting: list[bytes] = []
        self.ring = 1
        self.auth_body: Any = None

    def of(self, command: int) -> list[Frame]:
        return [item for item in self.frames if item.command == command]

    def times_of(self, command: int) -> list[float]:
        return [
            t for t, item in zip(self.times, self.frames, strict=True) if item.command == command
        ]

    @property
    def packets(self) -> list[bytes]:
        return [item.payload for item in self.of(C2S_IPDATA)]

    def send(self, command: int, payload: bytes = b"", sequence: int = 0) -> None:
        if self.link.unacknowledged < QUEUE_FRAMES or self.link.scheme == "tls":
            self.link.write(frame(command, payload, sequence))

    def send_packet(self, packet: bytes) -> None:
        self.send(S2C_IPDATA, packet)


class ClassicRouter:
    """The caller binds the sockets: in a network namespace where the test needs one."""

    def __init__(
        self,
        udp: socket.socket | None,
        tcp: socket.socket | None,
        *,
        key: str = "123456",
        idle_timeout: float = 60.0,
        idle_check: float = 5.0,
        kind: str = "rsa",
    ) -> None:
        self.udp, self.tcp, self.key = udp, tcp, key
        for own in (udp, tcp):
            if own is not None:
                own.setblocking(False)
        if tcp is not None:
            tcp.listen(16)
        self.idle_timeout, self.idle_check = idle_timeout, idle_check
        self.dtls_context = make_context(server=True, kind=kind)
        self.tls_context = TlsLink.server_context()
        self.accepting: dict[str, Connection | None] = {"kcp": None, "tls": None}
        self.backlog: list[tuple[socket.socket, tuple[str, int]]] = []
        self.associations: dict[tuple[str, int], Connection] = {}
        self.connections: list[Connection] = []
        self.by_gateway: dict[str, Connection] = {}
        self.routes: dict[str, Connection] = {}
        self.next_check: float | None = None
        self.strangers = 0
        # What a test may bend:
        self.answer_heartbeats = True
        self.auth_answer: bytes | None = None
        self.register_answer: bytes | None = None
        self.answer_auth = self.answer_register = True
        self.deaf: Callable[[tuple[str, int]], bool] = lambda _: False
        self.loses_bursts = False
        self.lost_in_bursts = 0

    # -- sockets ------------------------------------------------------------------------------

    def sockets(self) -> list[socket.socket]:
        own = [s for s in (self.udp, self.tcp) if s is not None]
        return own + [s for c in self.live for s in c.link.sockets()]

    @property
    def live(self) -> list[Connection]:
        return [c for c in self.connections if c.ended is None]

    @property
    def violations(self) -> list[str]:
        return [v for c in self.connections for v in c.link.violations + c.violations]

    def close(self) -> None:
        for connection in self.live:
            connection.link.close()
        for sock, _ in self.backlog:
            sock.close()
        for own in (self.udp, self.tcp):
            if own is not None:
                own.close()

    def step(self, now: float) -> None:
        self._receive_datagrams(now)
        self._accept_tcp(now)
        self._admit_next(now)
        for connection in self.live:
            if not self.deaf(connection.peer):
                self._serve(connection, now)
        if self.next_check is None:
            self.next_check = now + self.idle_check
        if now >= self.next_check:
            self.next_check = now + self.idle_check
            for connection in self.live:
                if connection.authenticated and now - connection.last_activity > self.idle_timeout:
                    self.end(connection, "idle")

    def _receive_datagrams(self, now: float) -> None:
        if self.udp is None:
            return
        arrived: list[tuple[bytes, tuple[str, int]]] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                arrived.append(self.udp.recvfrom(65536))
        for datagram, peer in self._survivors(arrived):
            if self.deaf(peer):
                continue
            connection = self.associations.get(peer)
            if connection is None:
                if not datagram or datagram[0] != HANDSHAKE:
                    self.strangers += 1
                    continue
                connection = self._new_association(self.udp, peer, now)
            if connection.waiting or connection not in self.connections:
                connection.waiting.append(datagram)
            else:
                assert isinstance(connection.link, KcpLink)
                connection.link.feed(datagram, now)

    def _survivors(
        self, arrived: list[tuple[bytes, tuple[str, int]]]
    ) -> list[tuple[bytes, tuple[str, int]]]:
        """The listener's ring loses a run of datagrams whenever a burst makes it grow."""
        if not self.loses_bursts:
            return arrived
        kept = []
        depth: dict[tuple[str, int], int] = {}
        losing: dict[tuple[str, int], int] = {}
        for datagram, peer in arrived:
            depth[peer] = depth.get(peer, 0) + 1
            connection = self.associations.get(peer)
            if connection is not None and depth[peer] > connection.ring:
                connection.ring = max(connection.ring * 5 // 4, min(connection.ring * 2, 128))
                losing[peer] = connection.ring // 4
            if losing.get(peer, 0) > 0:
                losing[peer] -= 1
                self.lost_in_bursts += 1
            else:
                kept.append((datagram, peer))
        return kept

    def _new_association(self, udp: socket.socket, peer: tuple[str, int], now: float) -> Connection:
        def transmit(datagram: bytes) -> None:
            if not self.deaf(peer):
                with contextlib.suppress(OSError):
                    udp.sendto(datagram, peer)

        connection = Connection(KcpLink(self.dtls_context, transmit, server=True), peer, now)
        self.associations[peer] = connection
        return connection

    def _accept_tcp(self, now: float) -> None:
        while self.tcp is not None:
            try:
                self.backlog.append(self.tcp.accept())
            except OSError:
                return

    def _admit_next(self, now: float) -> None:
        """One client at a time per transport, until its AUTH is there."""
        for scheme in ("kcp", "tls"):
            current = self.accepting[scheme]
            if current is not None:
                handshaking = scheme == "kcp" and not current.link.established
                if current.ended is not None or current.authenticated:
                    self.accepting[scheme] = None
                elif handshaking and now - current.since > HANDSHAKE_SECONDS:
                    self.end(current, "handshake timeout")
                continue
            if scheme == "tls" and self.backlog:
                sock, peer = self.backlog.pop(0)
                link = TlsLink(sock, self.tls_context, server=True)
                self._start(Connection(link, peer, now), scheme)
            elif scheme == "kcp":
                for connection in self.associations.values():
                    if connection not in self.connections:
                        connection.since = connection.last_activity = now
                        self._start(connection, scheme)
                        self._drain(connection, now)
                        break

    def _drain(self, connection: Connection, now: float) -> None:
        while connection.waiting:
            assert isinstance(connection.link, KcpLink)
            connection.link.feed(connection.waiting.pop(0), now)

    def _start(self, connection: Connection, scheme: str) -> None:
        self.connections.append(connection)
        self.accepting[scheme] = connection

    # -- one connection -----------------------------------------------------------------------

    def _serve(self, connection: Connection, now: float) -> None:
        connection.link.step(now)
        try:
            for item in connection.reader.feed(connection.link.take()):
                connection.frames.append(item)
                connection.times.append(now)
                self._on_frame(connection, item, now)
                if connection.ended is not None:
                    return
        except FrameError as error:
            connection.violations.append(str(error))
            self.end(connection, "bad frame")
        if connection.ended is None and connection.link.closed is not None:
            self.end(connection, connection.link.closed)

    def end(self, connection: Connection, why: str) -> None:
        connection.ended = why
        connection.link.close()
        self.associations.pop(connection.peer, None)
        self.by_gateway = {k: v for k, v in self.by_gateway.items() if v is not connection}
        self.routes = {k: v for k, v in self.routes.items() if v is not connection}

    def _on_frame(self, connection: Connection, item: Frame, now: float) -> None:
        if item.sequence:
            connection.violations.append(f"sequence {item.sequence} in command {item.command}")
        if not connection.authenticated:
            self._on_auth(connection, item)
        elif item.command == REGISTER:
            connection.last_activity = now
            self._on_register(connection, item)
        elif item.command == HEART_BEAT:
            connection.last_activity = now
            if item.payload:
                connection.violations.append(f"heartbeat with payload {item.payload!r}")
            if self.answer_heartbeats:
                connection.send(HEART_BEAT, sequence=item.sequence)
        elif item.command == C2S_IPDATA:
            self._on_data(connection, item)
        else:
            connection.violations.append(f"command {item.command} sent to a classic router")

    def _on_auth(self, connection: Connection, item: Frame) -> None:
        if item.command != AUTH:
            connection.violations.append(f"first command is {item.command}")
            return self.end(connection, "first frame is not AUTH")
        try:
            body = read_json(item.payload)
        except ValueError:
            connection.violations.append(f"AUTH body is not JSON: {item.payload!r}")
            return self.end(connection, "AUTH not JSON")
        connection.auth_body = body
        if not isinstance(body, dict) or item.payload != go_json(body):
            connection.violations.append(f"AUTH body not in the compact form: {item.payload!r}")
        if not self.answer_auth:
            return None
        if text_member(body, "key") != self.key:
            connection.send(AUTH, go_json({"error": "invalid key"}), item.sequence)
            return self.end(connection, "invalid key")
        connection.authenticated = True
        connection.send(AUTH, self.auth_answer or b"{}", item.sequence)
        return None

    def _on_register(self, connection: Connection, item: Frame) -> None:
        try:
            body = read_json(item.payload)
        except ValueError as error:
            connection.violations.append(f"REGISTER body is not JSON: {item.payload!r}")
            return connection.send(REGISTER, go_json({"error": str(error)}), item.sequence)
        self._check_register(connection, item, body)
        gateway = text_member(body, "gateway")
        holder = self.by_gateway.get(gateway)
        if holder is connection:
            connection.violations.append(f"{gateway} registered twice on one connection")
            return self.end(connection, "registered twice")
        if holder is not None:
            self.end(holder, "replaced")
        networks = body.get("network") if isinstance(body, dict) else None
        if isinstance(networks, str):
            networks = [networks]
        self.by_gateway[gateway] = connection
        connection.gateways.append(gateway)
        for network in networks if isinstance(networks, list) else []:
            if isinstance(network, str):
                self.routes[network] = connection
                connection.networks.append(network)
        if self.answer_register:
            connection.send(REGISTER, self.register_answer or b"{}", item.sequence)
        return None

    def _check_register(self, connection: Connection, item: Frame, body: Any) -> None:
        complain = connection.violations.append
        if not isinstance(body, dict):
            return complain(f"REGISTER body is no object: {item.payload!r}")
        if item.payload != go_json(body):
            complain(f"REGISTER body not in the compact form: {item.payload!r}")
        if not {"gateway", "key", "network"} <= body.keys():
            complain(f"REGISTER members {sorted(body)}")
        if body.get("key") != self.key:
            complain(f"REGISTER key {body.get('key')!r}")
        try:
            ipaddress.IPv4Address(body.get("gateway", ""))
            for network in body.get("network") or []:
                ipaddress.ip_network(network, strict=True)
        except ValueError as error:
            complain(f"REGISTER: {error}")
        return None

    def _on_data(self, connection: Connection, item: Frame) -> None:
        if fault := ipv4_fault(item.payload):
            connection.violations.append(f"forwarded to the router: {fault}")
        if len(item.payload) < 20:
            return self.end(connection, "packet too short")
        owner = self.lookup(addresses(item.payload)[1])
        if owner is not None:
            owner.send(S2C_IPDATA, item.payload, item.sequence)
        return None

    def lookup(self, destination: str) -> Connection | None:
        if destination in self.by_gateway:
            return self.by_gateway[destination]
        address = ipaddress.IPv4Address(destination)
        for route in sorted(self.routes, reverse=True):
            with contextlib.suppress(ValueError):
                if route != "0.0.0.0/0" and address in ipaddress.IPv4Network(route, strict=False):
                    return self.routes[route]
        return self.routes.get("0.0.0.0/0")
