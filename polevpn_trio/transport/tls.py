"""TLS over TCP, as a stream that carries bytes in bulk, for ``tls://`` and ``wss://``.

What arrives is read from the socket in one piece, however many records that are, and what leaves is
written in one; `polevpn_trio.transport.tls_session` has what is in between.
"""

from __future__ import annotations

import contextlib
import select
import socket
from pathlib import Path
from types import TracebackType

import trio
from OpenSSL import SSL

from polevpn_trio.control.config import CertificatePair
from polevpn_trio.control.session_identity import SessionIdentity
from polevpn_trio.coroutines import of_python
from polevpn_trio.errors import LinkLost
from polevpn_trio.stream_buffer import StreamBuffer
from polevpn_trio.transport import eager
from polevpn_trio.transport.base import Buffer
from polevpn_trio.transport.eager import Handler
from polevpn_trio.transport.key_limits import MOST_STREAM_BYTES
from polevpn_trio.transport.openssl import ask_for_certificate, reason_of, use_pair
from polevpn_trio.transport.path_governor import PathGovernor
from polevpn_trio.transport.tcp import (
    FIRST_LIMIT,
    BbrOnLongPaths,
    NotSentLimit,
    limit_rate,
    restart_bbr,
)
from polevpn_trio.transport.tcp_info import TcpStatistics, read_path, read_tcp_info
from polevpn_trio.transport.tls_records import MOST_RECORD_BYTES
from polevpn_trio.transport.tls_session import (
    MOST_AT_ONCE,
    TlsHandshake,
    TlsSession,
    watch_secrets,
)

SEAL_SIZE = 131_072
"""Bytes that are sealed, and given to the kernel, in one go."""

_received = bytearray(MOST_RECORD_BYTES + MOST_AT_ONCE)
"""What all streams of this process, which are in one thread, receive into: a part of a record that
was there before, and what comes; and the data in it."""

PIECES_PER_TURN = 32
"""Pieces that a handshake takes in one go before others get their turn; a usual one has a dozen.
A stranger may cut its messages into records of a byte."""

LINGER_SECONDS = 0.5
"""How long a closed link waits for the peer to end its side as well."""

# Forward secrecy and AEAD only; AES-128 first, being faster and no weaker in practice.
_TLS_1_2_SUITES = b"ECDH+AESGCM:ECDH+CHACHA20:!aNULL"
_TLS_1_3_SUITES = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

_HTTP = b"http/1.1"


def server_context(
    cert_file: Path, key_file: Path, *, ask_certificate: bool = False
) -> SSL.Context:
    """Make the context of a listener: TLS 1.2 and 1.3, and HTTP/1.1 for who asks by ALPN.

    Raises HostError when OpenSSL does not take the files.
    """
    context = _context(SSL.TLS_SERVER_METHOD)
    use_pair(context, cert_file, key_file)
    context.set_alpn_select_callback(_choose_http)
    # No session is resumed. With tickets whoever came back to a server that asks for certificates
    # would be refused by OpenSSL, as it must not take those of another server.
    context.set_options(SSL.OP_NO_TICKET)
    if ask_certificate:
        ask_for_certificate(context)
    return context


def _choose_http(_: SSL.Connection, offered: list[bytes]) -> bytes | SSL._NoOverlappingProtocols:
    """Do as a web server does that is asked what to speak (RFC 7301); gateways do not ask."""
    return _HTTP if _HTTP in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def client_context(own: CertificatePair | None = None) -> SSL.Context:
    """Make the context of a gateway, which shows its ``own`` certificate if it is asked for one.

    OpenSSL accepts any certificate of the router; `polevpn_trio.control.router_trust` judges it.
    Raises HostError when OpenSSL does not take the files.
    """
    context = _context(SSL.TLS_CLIENT_METHOD)
    if own is not None:
        use_pair(context, own.cert_file, own.key_file)
    return context


def _context(method: int) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(_TLS_1_2_SUITES)
    context.set_tls13_ciphersuites(_TLS_1_3_SUITES)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    watch_secrets(context)
    return context


class TlsStream:
    """A TLS connection, for bytes in bulk, with all that a `trio.abc.Stream` has.

    Made by `TlsStream.handshake`. One task may send while another receives.
    """

    def __init__(self, plain: socket.socket, handshake: TlsHandshake) -> None:
        """Take over a socket and what was agreed on it."""
        self._socket = plain
        self._peer_chain = handshake.peer_chain()
        self._identity = handshake.identity()
        self._session: TlsSession = handshake.take_over()
        self._pushed_back = b""
        # The beginning of a record.
        self._part = b""
        # Whether the next receive tells that nothing more comes.
        self._over = False
        self._send_lock = trio.StrictFIFOLock()
        self._writable = trio.Lock()
        self._broken = False
        self._shut_down = False
        # What `send_nowait` could not send: records, and what was not sealed yet.
        self._records = b""
        self._rest = memoryview(b"")
        self._sent = 0
        self._not_sent_limit = NotSentLimit()
        self._governor = PathGovernor()
        self._congestion = BbrOnLongPaths(plain)
        self._poll = select.poll()
        self._poll.register(plain.fileno(), select.POLLOUT)

    @classmethod
    @of_python
    async def handshake(
        cls, plain: socket.socket, context: SSL.Context, *, server_name: str | None = None
    ) -> TlsStream:
        """Secure a connected TCP socket, which the stream then owns.

        We are the server unless ``server_name`` says whom we called. Raises LinkLost when the
        peer does not speak TLS, or goes away. The caller sets the deadline.
        """
        try:
            if server_name is not None:
                _check_name(server_name)
            # Raises if the peer is gone already.
            plain.getpeername()
            plain.setblocking(False)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, FIRST_LIMIT)
            handshake = TlsHandshake(context, server_name)
            await _shake_hands(plain, handshake)
            return cls(plain, handshake)
        except (OSError, ValueError, SSL.Error) as error:
            # A peer that has reset the connection, a name that cannot be one, another protocol.
            plain.close()
            raise LinkLost(f"TLS handshake failed: {_reason(error)}") from error
        except BaseException:
            plain.close()
            raise

    def peer_chain(self) -> tuple[bytes, ...]:
        """Return the certificates that the peer has shown, in DER, its own first."""
        return self._peer_chain

    def identity(self) -> SessionIdentity:
        """Return what tells this session from all others."""
        return self._identity

    def push_back(self, data: bytes) -> None:
        """Make the next receive start with these bytes, which were read to see what they are."""
        self._pushed_back = data + self._pushed_back

    @of_python
    async def while_readable(self, handler: Handler) -> None:
        """Call ``handler`` whenever there may be something to receive, until it returns False.

        What the socket has, that is, and what it has brought with data that was received; what was
        pushed back does not count. Raises trio.ClosedResourceError when closed.
        """
        serve = _Serving(self, handler).serve
        if not self._over or serve():
            if self._shut_down:
                raise trio.ClosedResourceError("this side has ended the stream")
            await eager.while_readable(self._socket.fileno(), serve)

    @property
    def over(self) -> bool:
        """Whether the next receive tells that nothing more comes."""
        return self._over

    def receive_into_nowait(self, target: StreamBuffer) -> int | None:
        """Receive as `receive_into` does; None if that takes waiting."""
        if self._pushed_back:
            data, self._pushed_back = self._pushed_back, b""
            target.append(data)
            return len(data)
        return self._receive(target)

    def _receive(self, target: StreamBuffer) -> int | None:
        """Take what is there; None if there is no data yet."""
        if self._shut_down:
            raise trio.ClosedResourceError("this side has ended the stream")
        session = self._session
        if not self._over:
            held = len(self._part)
            _received[:held] = self._part
            try:
                count = self._socket.recv_into(
                    memoryview(_received)[held : held + session.most_at_once]
                )
            except BlockingIOError:
                return None
            except (ConnectionResetError, BrokenPipeError):
                count = 0
            except OSError as error:
                self._broken = True
                raise trio.BrokenResourceError(_reason(error)) from error
            if count == 0:
                # The originals, when killed, end TCP without TLS's close_notify.
                return 0
            size = held + count
            target.reserve(size + MOST_RECORD_BYTES)
            began = target.end
            target.end = session.open_untrusted(_received, size, target.data, began)
            self._over = session.ended or session.failure != ""
            # What follows the end of the stream is nothing to us.
            self._part = (
                b"" if self._over else bytes(memoryview(_received)[session.consumed : size])
            )
            if session.answers and self._ready() and self.takes_more():
                self._answer()
            if target.end > began:
                return target.end - began
            # Where nothing waits, the room was for nothing.
            target.advance(target.start)
            if not self._over:
                return None
        if session.failure:
            self._say_last_words()
            raise trio.BrokenResourceError(session.failure)
        return 0

    @of_python
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for data; ``b""`` when the peer has ended the stream.

        Takes what is there, up to ``max_bytes`` (128 KiB unless told).
        Raises trio.BrokenResourceError when the connection failed.
        """
        received = StreamBuffer()
        await self.receive_into(received)
        data = received.take()
        if max_bytes is not None and len(data) > max_bytes:
            self._pushed_back = data[max_bytes:]
            data = data[:max_bytes]
        return data

    @of_python
    async def receive_into(self, target: StreamBuffer) -> int:
        """Receive as `receive_some` does, to the end of ``target``; return how many bytes."""
        await trio.lowlevel.checkpoint()
        while (count := self.receive_into_nowait(target)) is None:
            await trio.lowlevel.wait_readable(self._socket)
        return count

    @of_python
    async def send_all(self, data: Buffer) -> None:
        """Send all of ``data``. Raises trio.BrokenResourceError when the connection failed.

        Cancelled half-way, the stream is broken: the peer would read a torn frame. Raises
        trio.ClosedResourceError when this side has ended it.
        """
        async with self._send_lock:
            if self._shut_down:
                raise trio.ClosedResourceError("this side has ended the stream")
            if self._broken:
                raise trio.BrokenResourceError("an earlier send was interrupted")
            self._broken = True
            kept, self._records = self._records, b""
            await self._write(memoryview(kept))
            rest, self._rest = self._rest, memoryview(b"")
            await self._send(rest)
            await self._send(memoryview(data))
            self._broken = False

    @of_python
    async def _send(self, view: memoryview) -> None:
        while view:
            records = self._seal(view[:SEAL_SIZE])
            view = view[SEAL_SIZE:]
            # Others may seal while this one waits.
            sent = self._write_nowait(records)
            if sent < len(records):
                await self._write(memoryview(bytes(records[sent:])))

    @of_python
    async def _write(self, records: memoryview) -> None:
        while records:
            sent = self._write_nowait(records)
            records = records[sent:]
            if records:
                await self._wait_writable()

    @of_python
    async def _wait_writable(self) -> None:
        """Wait until the socket takes more; who sends may meet who waits in `finish`."""
        async with self._writable:
            if self._socket.fileno() == -1:
                raise trio.ClosedResourceError("another task closed this stream")
            await trio.lowlevel.wait_writable(self._socket)

    def _write_nowait(self, records: memoryview) -> int:
        try:
            return self._socket.send(records)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError(_reason(error)) from error

    def _seal(self, data: memoryview) -> memoryview:
        self._check_keys()
        self._sent += len(data)
        try:
            return self._session.seal(data)
        except LinkLost as error:
            raise trio.BrokenResourceError(str(error)) from error

    def _check_keys(self) -> None:
        if self._sent >= MOST_STREAM_BYTES:
            self._broken = True
            raise trio.BrokenResourceError("its keys are used up")

    @property
    def ready(self) -> bool:
        """Whether nothing is being sent, so that `send_nowait` may be called."""
        return self._ready()

    def _ready(self) -> bool:
        return not (self._records or self._rest or self._broken or self._send_lock.locked())

    def send_nowait(self, data: Buffer) -> bool:
        """Send ``data`` as far as the socket takes it; only while `ready`.

        False if there is a rest: `send_all` (of nothing, if there is no more) begins with it.
        Raises trio.BrokenResourceError when the connection failed.
        """
        view = memoryview(data)
        try:
            while view:
                records = self._seal(view[:SEAL_SIZE])
                view = view[SEAL_SIZE:]
                sent = self._write_nowait(records)
                if sent < len(records):
                    self._records = bytes(records[sent:])
                    self._rest = view
                    return False
        except trio.BrokenResourceError:
            self._broken = True
            raise
        return True

    def govern(self, now: float) -> None:
        """Keep the path's queue short, by what the kernel says of it; after sending.

        ``now`` is Trio's time.
        """
        if now < self._governor.due:
            return
        sample = read_path(self._socket)
        if sample is None:
            return
        self._congestion.follow_path(sample.min_rtt)
        if self._governor.look(sample, now):
            limit_rate(self._socket, self._governor.limit)
        if self._governor.restart:
            self._governor.restart = False
            restart_bbr(self._socket)

    @property
    def portion(self) -> int:
        """Bytes to send at a time, each when `takes_more`: more would wait in the kernel."""
        return self._not_sent_limit.bytes // 2

    def takes_more(self) -> bool:
        """Whether the kernel has passed on most of what it had; only while `ready`."""
        return bool(self._poll.poll(0))

    @of_python
    async def finish(self) -> None:
        """Send the rest that `send_nowait` has left, and wait until the stream `takes_more`.

        Raises trio.BrokenResourceError when the connection failed.
        """
        if not self._ready():
            await self.send_all(b"")
        if self.takes_more():
            return
        await self._wait_writable()
        if self._not_sent_limit.note_waited(self._sent, trio.current_time()):
            limit = self._not_sent_limit.bytes
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, limit)

    @of_python
    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the socket takes data again."""
        async with self._send_lock:
            await self._wait_writable()

    def shut_down(self) -> None:
        """Send close_notify if the socket takes it at once, and end our direction of TCP.

        Nobody receives any more from then on.
        """
        if self._shut_down:
            return
        self._shut_down = True
        self._say_last_words()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        eager.notify_closing(self._socket.fileno())

    def _answer(self) -> None:
        """Send what the session has to say for what was received."""
        answers, self._session.answers = self._session.answers, b""
        sent = 0
        with contextlib.suppress(OSError):
            sent = self._socket.send(answers)
        # The records are numbered: none may be left out, or be sent in part.
        self._broken = sent < len(answers)

    def _say_last_words(self) -> None:
        """Tell the peer why this ends, once, if the socket takes that at once.

        Where it has not taken all of a record, nothing can be said any more.
        """
        if not self._broken:
            self._broken = True
            if self._records:
                return
            with contextlib.suppress(OSError, LinkLost):
                self._socket.send(self._session.last_words())

    def statistics(self) -> tuple[TcpStatistics, ...]:
        """Ask the kernel about the connection; () when it is gone."""
        found = read_tcp_info(self._socket)
        return () if found is None else (found,)

    @of_python
    async def linger(self) -> None:
        """Throw away what the peer sends until it ends its direction too; after `shut_down`.

        A socket that is closed with something unread, or sent something after that, resets the
        connection instead, and the peer may lose what it has not read. The caller sets the
        deadline.
        """
        with contextlib.suppress(OSError, trio.ClosedResourceError):
            while True:
                try:
                    if not self._socket.recv_into(_received):
                        return
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(self._socket)
                else:
                    # Who sends fast enough leaves nothing to wait for.
                    await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close at once, after what `shut_down` does."""
        if self._socket.fileno() == -1:
            return
        self.shut_down()
        trio.lowlevel.notify_closing(self._socket.fileno())
        self._socket.close()

    @of_python
    async def aclose(self) -> None:
        """Close, as `close` does."""
        self.close()
        await trio.lowlevel.checkpoint()

    @of_python
    async def __aenter__(self) -> TlsStream:
        return self

    @of_python
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class _Serving:
    """Has a handler take all that one read of a stream's socket has brought.

    It is no function within the coroutine: compiled, such a one and the variables that it shares
    know each other, and leave what they know to the garbage collector.
    """

    def __init__(self, stream: TlsStream, handler: Handler) -> None:
        self._stream = stream
        self._handler = handler

    def serve(self) -> bool:
        """Call the handler, again where the end of the stream is still to be told."""
        goes_on = self._handler()
        while goes_on and self._stream.over:
            goes_on = self._handler()
        return goes_on


def _check_name(name: str) -> None:
    """Raise ValueError for what cannot be sent as a server's name."""
    if not name or name.startswith("."):
        raise ValueError(f"{name!r} is no name of a server")
    name.encode("idna")


@of_python
async def _shake_hands(plain: socket.socket, handshake: TlsHandshake) -> None:
    """Carry what a handshake says and hears. Raises OSError and SSL.Error when it fails."""
    pieces = 0
    while True:
        try:
            left = memoryview(handshake.advance())
        except SSL.Error:
            with contextlib.suppress(OSError):
                plain.send(handshake.outgoing())
            raise
        while left:
            try:
                left = left[plain.send(left) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(plain)
        if handshake.done:
            return
        try:
            data = plain.recv(handshake.wanted)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(plain)
            continue
        if not data:
            raise OSError("unexpected end of the connection")
        handshake.feed_untrusted(data)
        pieces += 1
        if pieces % PIECES_PER_TURN == 0:
            await trio.lowlevel.checkpoint()


def _reason(error: Exception) -> str:
    """Say in a few words what OpenSSL or the kernel had to complain about."""
    if isinstance(error, SSL.Error):
        return reason_of(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
