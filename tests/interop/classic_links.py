"""The two transports of the originals behind one small interface, and the loop that turns them.

A link is stepped, never blocks and never starts threads: ``Pump.until`` waits on all sockets of
a test and steps every peer, so that a test reads from top to bottom.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from OpenSSL import SSL

from tests.interop.classic_dtls import ClassicDtls, certificate, make_context
from tests.interop.classic_kcp import ClassicKcp

CLIENT_WINDOW = 2048
SERVER_WINDOW = 512
TURN = 0.005


class Stepped(Protocol):
    def sockets(self) -> list[socket.socket]: ...

    def step(self, now: float) -> None: ...

    def close(self) -> None: ...


P = TypeVar("P", bound=Stepped)


class Pump:
    """Runs peers until something is true; closes them all at its end."""

    def __init__(self) -> None:
        self.peers: list[Stepped] = []
        self.describe: Callable[[], str] = str
        self.still_running: Callable[[], bool] = lambda: True

    def add(self, peer: P) -> P:
        self.peers.append(peer)
        return peer

    def close(self) -> None:
        for peer in self.peers:
            peer.close()

    def turn(self) -> None:
        """Wait for datagrams, a tick at most, and let every peer do what it has to."""
        sockets = [s for peer in self.peers for s in peer.sockets() if s.fileno() >= 0]
        select.select(sockets, [], [], TURN)
        for peer in self.peers:
            peer.step(time.monotonic())

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 8.0) -> Any:
        """Raises AssertionError with ``what`` if it does not become true in time."""
        deadline = time.monotonic() + seconds
        while True:
            self.turn()
            value = condition()
            if value:
                return value
            if not self.still_running():
                raise AssertionError(f"the program ended before: {what}\n{self.describe()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s: {what}\n{self.describe()}")

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.turn()


class KcpLink:
    """KCP in DTLS; the owner of the socket hands the datagrams in."""

    scheme = "kcp"

    def __init__(
        self, context: SSL.Context, transmit: Callable[[bytes], None], *, server: bool
    ) -> None:
        self.dtls = ClassicDtls(context, server=server)
        self.kcp = ClassicKcp(SERVER_WINDOW if server else CLIENT_WINDOW)
        self.transmit = transmit
        self.stream = b""
        self.socket: socket.socket | None = None
        self.lose_incoming: Callable[[bytes], bool] = lambda _: False
        self.lose_outgoing: Callable[[bytes], bool] = lambda _: False
        self.keep_written: list[bytes] = []
        if not server:
            self.dtls.start()
            self.flush_dtls()

    @classmethod
    def connect(cls, address: tuple[str, int], **options: Any) -> KcpLink:
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        own.setblocking(False)
        own.connect(address)

        def transmit(datagram: bytes) -> None:
            with contextlib.suppress(OSError):
                own.send(datagram)

        link = cls(make_context(server=False, **options), transmit, server=False)
        link.socket = own
        return link

    @property
    def established(self) -> bool:
        return self.dtls.established

    @property
    def closed(self) -> str | None:
        return self.dtls.ended

    @property
    def violations(self) -> list[str]:
        return self.dtls.violations + self.kcp.violations

    @property
    def local_port(self) -> int:
        assert self.socket is not None
        return int(self.socket.getsockname()[1])

    def sockets(self) -> list[socket.socket]:
        return [self.socket] if self.socket is not None else []

    def flush_dtls(self) -> None:
        for datagram in self.dtls.outgoing:
            self.transmit(datagram)
        self.dtls.outgoing.clear()

    def _send(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            if not self.lose_outgoing(datagram):
                self.dtls.send(datagram)
        self.flush_dtls()

    def feed(self, datagram: bytes, now: float) -> None:
        for plaintext in self.dtls.input(datagram):
            if not self.lose_incoming(plaintext):
                self._send(self.kcp.input(plaintext, now))
                self.stream += self.kcp.read()
        self.flush_dtls()

    def step(self, now: float) -> None:
        if self.socket is not None and self.socket.fileno() >= 0:
            while True:
                try:
                    datagram = self.socket.recv(65536)
                except OSError:
                    break
                self.feed(datagram, now)
        self.dtls.timer()
        self.flush_dtls()
        if self.established and self.closed is None:
            for waiting in self.keep_written:
                self._send(self.kcp.write(waiting, now))
            self.keep_written.clear()
            self.stream += self.kcp.read()
            self._send(self.kcp.timer(now))

    def take(self) -> bytes:
        taken, self.stream = self.stream, b""
        return taken

    def write(self, data: bytes) -> None:
        """One write of the original: cut in pieces, flushed at once (or when connected)."""
        if self.established:
            self._send(self.kcp.write(data, time.monotonic()))
        else:
            self.keep_written.append(data)

    @property
    def unacknowledged(self) -> int:
        return self.kcp.unacknowledged

    def close(self, *, silently: bool = False) -> None:
        if not silently:
            self.dtls.close()
            self.flush_dtls()
        if self.socket is not None:
            self.socket.close()


class TlsLink:
    scheme = "tls"

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server: bool) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server,
            server_hostname=None if server else "apple.com",
        )
        self.established = False
        self.closed: str | None = None
        self.violations: list[str] = []
        self.stream = b""
        self.unsent = b""
        self.keep_written: list[bytes] = []
        self.peer_finished = False
        self.reading = True

    @classmethod
    def connect(cls, address: tuple[str, int]) -> TlsLink:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return cls(socket.create_connection(address, 5), context, server=False)

    @staticmethod
    def server_context() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        key, chain = certificate("rsa")
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(key + chain)
            file.flush()
            context.load_cert_chain(file.name)
        return context

    @property
    def local_port(self) -> int:
        return int(self.socket.getsockname()[1])

    @property
    def unacknowledged(self) -> int:
        return len(self.unsent)

    def sockets(self) -> list[socket.socket]:
        return [self.socket]

    def _send(self) -> None:
        self.unsent += self.outgoing.read()
        while self.unsent and self.socket.fileno() >= 0:
            try:
                sent = self.socket.send(self.unsent)
            except BlockingIOError:
                return
            except OSError as error:
                self.closed = self.closed or f"reset: {error}"
                self.unsent = b""
                return
            self.unsent = self.unsent[sent:]

    def step(self, now: float) -> None:
        if self.socket.fileno() < 0:
            return
        while self.reading:
            try:
                data = self.socket.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                self.closed = self.closed or f"reset: {error}"
                break
            if not data:
                self.peer_finished = True
                self.incoming.write_eof()
                break
            self.incoming.write(data)
        try:
            if not self.established:
                self.tls.do_handshake()
                self.established = True
            for waiting in self.keep_written:
                self.tls.write(waiting)
            self.keep_written.clear()
            while self.reading and self.closed is None:
                data = self.tls.read(1 << 16)
                if not data:
                    self.closed = "close_notify"
                    break
                self.stream += data
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.closed = self.closed or "close_notify"
        except ssl.SSLEOFError:
            self.closed = self.closed or "fin"
        except ssl.SSLError as error:
            self.closed = self.closed or f"failed: {error}"
        self._send()

    def take(self) -> bytes:
        taken, self.stream = self.stream, b""
        return taken

    def write(self, data: bytes) -> None:
        if self.established and self.closed is None:
            self.tls.write(data)
            self._send()
        else:
            self.keep_written.append(data)

    def close(self, *, silently: bool = False) -> None:
        if self.socket.fileno() < 0:
            return
        if not silently and self.established:
            with contextlib.suppress(ssl.SSLError):
                self.tls.unwrap()
            self._send()
        self.closed = self.closed or "closed by us"
        self.socket.close()


Link = KcpLink | TlsLink


def connect(scheme: str, address: tuple[str, int]) -> Link:
    return KcpLink.connect(address) if scheme == "kcp" else TlsLink.connect(address)
