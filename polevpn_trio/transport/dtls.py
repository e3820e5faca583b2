"""DTLS 1.2 over one UDP socket, for any number of peers (RFC 6347).

The way of a received batch:

1. `DtlsEndpoint.run` is the one receive loop of the socket. It looks at the sender's address
   and the type of the records, and awaits nothing on behalf of any peer. When more comes than it
   can take in, established peers get sockets of their own (`own_socket.py`), which take turns;
   ClientHellos have some at all times (`hello_sorting.py`), if whoever opened the port wants it so.
2. Records of an established session go, undecrypted, to its owner if that is at leisure, else
   into the session's bounded channel.
3. Whoever owns the session takes them from there and opens them with
   `DtlsSession.open_batch_untrusted`.
4. A ClientHello without a cookie that proves its address is answered with one, at once and within
   bounds (`hello_cookies.py`), and leaves no state behind.
5. Other handshake records go to trio.DTLSEndpoint through `HandshakeSocket`.

What a stranger sends is dropped and counted; what a stranger sends in a peer's name (plaintext
alerts, junk, replays, a ClientHello) never ends that peer's session.
"""

from __future__ import annotations

import contextlib
import logging
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

import attrs
import trio
from OpenSSL import SSL, crypto

from polevpn_trio.control.config import CertificatePair
from polevpn_trio.control.token_bucket import TokenBucket
from polevpn_trio.coroutines import of_python
from polevpn_trio.errors import BadPacket, LinkLost
from polevpn_trio.transport import eager, records
from polevpn_trio.transport.containment import contained
from polevpn_trio.transport.dtls_session import (
    CLOSE_NOTIFY,
    WARNING,
    DtlsSession,
    Owner,
    handshake_tokens,
)
from polevpn_trio.transport.handshake import (
    FlightGuard,
    HandshakeSocket,
    epoch_of,
    is_client_hello_untrusted,
    plaintext_alert,
    split_records_untrusted,
    take_over,
)
from polevpn_trio.transport.hello_cookies import HelloCookies
from polevpn_trio.transport.openssl import ask_for_certificate, reason_of, use_pair
from polevpn_trio.transport.own_socket import OwnSockets
from polevpn_trio.transport.udp import Address, BatchSocket

__all__ = [
    "Address",
    "DtlsEndpoint",
    "EndpointStatistics",
    "client_context",
    "server_context",
]

log = logging.getLogger(__name__)

# Of the protocol (RFC 5246 section 7.2; OpenSSL's number of DTLS 1.2).
FATAL = 2
_DTLS_1_2 = 0xFEFD
# In the order of the classic gateway: AES-128 first, being faster and no weaker in practice.
_CIPHERS = b":".join(name.encode() for name in records.SUITES)

TURN_BUDGET = 16
"""Socket batches taken in before other tasks get their turn: as many as the owner of a session
works off in one turn of its own, so that what it cannot keep up with waits in the kernel."""
TURN_SECONDS = 0.002
"""Seconds after which a turn ends in any case: some batches cost far more than others."""
SHARE_SECONDS = 0.003
"""Seconds of processor time for a turn where two are waiting. What costs most may be what an owner
does in the end with all that has come, so a socket whose turns take more has fewer batches taken in
at a time. Where more are waiting, each for all of the others, it goes down by their square."""
LEAST_SHARE = 0.001
"""Seconds: shorter turns help nobody, as every other turn takes about as long."""
MAX_EARLY_DATAGRAMS = 64
"""Application datagrams kept for a handshake that is about to be finished."""
HANDSHAKE_MTU = 1232
"""Largest handshake datagram: fits the smallest IPv6 MTU, and so practically any path."""
SMALLEST_CLIENT_HELLO = 60
"""A ClientHello in a shorter datagram gets no answer: HelloVerifyRequest has this many bytes,
and nobody shall be able to have more sent to a forged address than they send us."""
_ALERTS = {
    10: "unexpected message",
    20: "bad record",
    40: "handshake failure",
    47: "illegal parameter",
    50: "decode error",
    51: "decrypt error",
    70: "no common protocol version",
    71: "no common cipher suite or group",
    80: "internal error",
    90: "user canceled",
}

SessionHandler = Callable[[DtlsSession], Awaitable[object]]
VerifyCallback = Callable[[SSL.Connection, crypto.X509, int, int, int], bool]


def _context() -> SSL.Context:
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_min_proto_version(_DTLS_1_2)
    context.set_max_proto_version(_DTLS_1_2)
    context.set_cipher_list(_CIPHERS)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def server_context(
    cert_file: Path, key_file: Path, *, ask_certificate: bool = False
) -> SSL.Context:
    """Make the context of one listener, with a certificate chain and its key in PEM.

    The client's order of cipher suites decides. Raises HostError if the files cannot be read
    or do not belong together.
    """
    context = _context()
    use_pair(context, cert_file, key_file)
    if ask_certificate:
        ask_for_certificate(context)
    return context


def client_context(
    verify: VerifyCallback | None = None, *, own: CertificatePair | None = None
) -> SSL.Context:
    """Make the context of a client, for one connection.

    (A context that has been used cannot be changed any more, and Trio sets options on it.)
    Without ``verify`` any certificate is accepted, as the classic gateway does; with it,
    it is asked about each certificate of the server's chain (pyOpenSSL's verify callback).
    Shows its ``own`` certificate if it is asked for one. Raises HostError when OpenSSL does not
    take the files.
    """
    context = _context()
    if own is not None:
        use_pair(context, own.cert_file, own.key_file)
    if verify is not None:
        context.set_verify(SSL.VERIFY_PEER, verify)
    return context


@attrs.frozen
class EndpointStatistics:
    """Counters of one endpoint; what is dropped is counted in datagrams.

    ``stranger_dropped``: not a handshake, from an address without a session.
    ``malformed_dropped``: record lengths do not add up, or no record type of DTLS.
    ``small_hello_dropped``: a ClientHello shorter than its answer.
    ``challenged``: a ClientHello without a cookie of ours, answered with one; ``unanswered``: one
    beyond as many as are answered.
    ``not_serving_dropped``: a ClientHello, but nobody listens here.
    ``rate_limited``: handshake records beyond what an established peer may need.
    ``handshake_overflow``: handshake records that Trio was too slow for.
    ``handshake_unsent``: handshake datagrams that found no room in the socket.
    ``alert_ignored``: plaintext alerts during a handshake, which anyone could have sent.
    ``early_overflow``: application data beyond what is kept for an unfinished handshake.
    ``outgoing_blocked``: what OpenSSL wanted to send and may not any more.
    ``half_open_evicted``: handshakes given up to make room for newer ones.
    ``turned_away``: handshakes not begun, by order of who serves here.
    ``own_sockets``: peers that were given sockets of their own, and have them still.
    """

    sessions: int
    half_open: int
    completed: int
    failed: int
    replaced: int
    half_open_evicted: int
    turned_away: int
    stranger_dropped: int
    malformed_dropped: int
    small_hello_dropped: int
    challenged: int
    unanswered: int
    not_serving_dropped: int
    rate_limited: int
    handshake_overflow: int
    handshake_unsent: int
    alert_ignored: int
    early_overflow: int
    outgoing_blocked: int
    own_sockets: int


@attrs.define(eq=False)
class _Handshake:
    """A handshake that is not finished yet."""

    address: Address
    connection: SSL.Connection
    guard: FlightGuard = attrs.field(factory=FlightGuard)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    early: list[bytes] = attrs.field(factory=list)
    alert: tuple[int, int] | None = None
    handshake_tokens: TokenBucket = attrs.field(factory=handshake_tokens)

    def discard_openssl_resend(self) -> None:
        """Let OpenSSL do the resend that its own timer asks for, and throw it away.

        Trio resends by itself. Left to the next call, OpenSSL's resend would come out together
        with the next flight; Trio would take both for a resend and drop them, and a handshake
        in which one step takes over a second would never end.
        """
        with contextlib.suppress(SSL.Error):
            while self.connection.DTLSv1_handle_timeout() or self.connection.bio_read(1 << 16):
                pass


def _share(crowd: float) -> float:
    """Give the seconds of processor time for a turn if so many are waiting."""
    return max(SHARE_SECONDS * (2 / crowd) ** 2, LEAST_SHARE)


class DtlsEndpoint:
    """All DTLS sessions of one UDP socket, as client, as server, or both.

    `run` must be running for anything to happen. `close` ends everything, the socket too.
    Must be created inside of a Trio run.
    """

    def __init__(self, udp: BatchSocket) -> None:
        self._udp = udp
        self._socket = HandshakeSocket(udp)
        self._dtls = trio.DTLSEndpoint(self._socket, incoming_packets_buffer=64)
        self._cookies = HelloCookies(trio.current_time())
        # What it would make at the first ClientHello.
        self._dtls._listening_key = self._cookies.key
        self._sessions: dict[Address, DtlsSession] = {}
        self._handshakes: dict[Address, _Handshake] = {}
        self._serving = False
        self._running = False
        self._closed = False
        self._counts: Counter[str] = Counter()
        # Owners that took something in this turn, in order.
        self._attending: dict[Owner, None] = {}
        self._own_sockets = OwnSockets(udp, self._receive_turn)
        # trio.current_time() without two calls in between, for what is done for each batch.
        self._time = trio.lowlevel.current_clock().current_time
        self._processor_time = time.thread_time

    # 1. From the socket to whom it may concern

    @of_python
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Receive until cancelled or closed."""
        if self._running:
            raise trio.BusyResourceError("the endpoint is being run already")
        self._running = True
        task_status.started()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._own_sockets.serve)
                for hellos in self._udp.hello_sockets:
                    nursery.start_soon(self._receive_hellos, hellos)
                await self._udp.while_readable(self._take_turn)
        except* trio.ClosedResourceError:
            # The only way for an endpoint to end by itself: somebody closed it.
            if not self._closed:
                raise
        finally:
            self._running = False

    def _take_turn(self) -> bool:
        """Receive what is there, within the budget; relieve the socket if that is not all."""
        senders = self._receive_turn(self._udp)
        if senders and self._udp.is_readable():
            self._own_sockets.give(address for address in senders if address in self._sessions)
        else:
            self._own_sockets.note_emptied()
        return True

    @of_python
    async def _receive_hellos(self, udp: BatchSocket) -> None:
        def take_turn() -> bool:
            self._receive_turn(udp)
            return True

        await udp.while_readable(take_turn)

    def _receive_turn(self, udp: BatchSocket) -> list[Address]:
        """Receive from one socket; return who has sent something if there may be more."""
        senders: list[Address] = []
        end = self._time() + TURN_SECONDS
        began = self._processor_time()
        budget = TURN_BUDGET - udp.withheld
        emptied = False
        while len(senders) < budget and not emptied:
            try:
                data, segment_size, address = udp.receive_batch_nowait()
            except BlockingIOError:
                emptied = True
                continue
            senders.append(address)
            self._dispatch_batch_untrusted(data, segment_size, address)
            if len(senders) == 1 and len(data) <= segment_size:
                # A lone packet: it need not wait for us to find out that nothing follows it.
                self._end_turn()
            if self._time() >= end:
                break
        self._end_turn()
        seconds = self._processor_time() - began
        if seconds > LEAST_SHARE and seconds > (share := _share(eager.crowd())):
            udp.withheld = TURN_BUDGET - max(int(len(senders) * share / seconds), 1)
        elif udp.withheld and len(senders) == budget:
            udp.withheld -= 1
        return [] if emptied else senders

    def _end_turn(self) -> None:
        if self._attending:
            owners, self._attending = self._attending, {}
            for owner in owners:
                owner.end_turn()

    def _dispatch_batch_untrusted(self, data: bytes, segment_size: int, address: Address) -> None:
        if not data:
            self._counts["malformed_dropped"] += 1
            return
        session = self._sessions.get(address)
        if session is not None and address not in self._handshakes:
            kinds = data[::segment_size]
            if kinds.count(records.APPLICATION_DATA) == len(kinds):
                self._deliver(session, data, segment_size)
                return
        for start in range(0, len(data), segment_size):
            self._dispatch_untrusted(data[start : start + segment_size], address)

    def _dispatch_untrusted(self, datagram: bytes, address: Address) -> None:
        kind = datagram[0]
        session = self._sessions.get(address)
        handshake = self._handshakes.get(address)
        if kind in (records.APPLICATION_DATA, records.ALERT):
            if session is not None:
                self._deliver(session, datagram, len(datagram))
            if handshake is not None:
                self._keep_early_untrusted(datagram, handshake)
            elif session is None:
                self._counts["stranger_dropped"] += 1
        elif is_client_hello_untrusted(datagram):
            self._dispatch_hello_untrusted(datagram, address, handshake or session)
        elif kind in (records.HANDSHAKE, records.CHANGE_CIPHER_SPEC):
            try:
                split_records_untrusted(datagram)
            except BadPacket:
                self._counts["malformed_dropped"] += 1
                return
            self._dispatch_handshake_untrusted(datagram, address, session, handshake)
        else:
            self._counts["malformed_dropped"] += 1

    def _deliver(self, session: DtlsSession, data: bytes, segment_size: int) -> None:
        if session.deliver_nowait(data, segment_size) and session.owner is not None:
            self._attending[session.owner] = None

    def _keep_early_untrusted(self, datagram: bytes, handshake: _Handshake) -> None:
        """Keep what may belong to the session that this handshake is about to become."""
        if epoch_of(datagram) == 0:
            self._counts["alert_ignored"] += 1
            if datagram[0] == records.ALERT and len(datagram) == records.HEADER_BYTES + 2:
                handshake.alert = (datagram[-2], datagram[-1])
        elif len(handshake.early) >= MAX_EARLY_DATAGRAMS:
            self._counts["early_overflow"] += 1
        else:
            handshake.early.append(datagram)

    def _dispatch_hello_untrusted(
        self, datagram: bytes, address: Address, known: DtlsSession | _Handshake | None
    ) -> None:
        now = trio.current_time()
        if not self._serving:
            self._counts["not_serving_dropped"] += 1
        elif len(datagram) < SMALLEST_CLIENT_HELLO:
            self._counts["small_hello_dropped"] += 1
        elif known is not None and not known.handshake_tokens.take(now):
            self._counts["rate_limited"] += 1
        else:
            try:
                challenge = self._cookies.challenge_untrusted(datagram, address, now)
            except BadPacket:
                self._counts["malformed_dropped"] += 1
                return
            if challenge is None:
                self._socket.feed(datagram, address)
            elif challenge:
                self._counts["challenged"] += 1
                self._socket.send_nowait(challenge, address)

    def _dispatch_handshake_untrusted(
        self,
        datagram: bytes,
        address: Address,
        session: DtlsSession | None,
        handshake: _Handshake | None,
    ) -> None:
        now = trio.current_time()
        if handshake is not None:
            handshake.discard_openssl_resend()
            self._socket.feed(datagram, address)
        elif session is None:
            self._counts["stranger_dropped"] += 1
        elif epoch_of(datagram):
            # Only the plaintext beginning of the peer's last flight makes Trio repeat ours.
            self._counts["malformed_dropped"] += 1
        elif not session.handshake_tokens.take(now):
            self._counts["rate_limited"] += 1
        else:
            self._socket.feed(datagram, address)

    # 2. Handshakes

    @of_python
    async def serve(
        self,
        context: SSL.Context,
        handler: SessionHandler,
        *,
        handshake_timeout: float,
        max_half_open: int,
        turns_away: Callable[[Address], bool] = lambda _: False,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept sessions and run ``handler`` on each, in a task of its own.

        The session is closed when the handler returns; an error that the handler raises goes
        up from here. A failed handshake ends nothing but itself. A handshake must be finished
        within ``handshake_timeout`` seconds; of more than ``max_half_open`` at once, the oldest
        one of the host that has most of them is given up. Both are attributes that may be changed
        meanwhile. ``turns_away`` is asked before each, when the peer's address is proven but
        nothing costly has happened; a peer that is turned away gets no answer, and so tries again.
        """

        @of_python
        async def accept(channel: trio.DTLSChannel) -> None:
            address = channel.peer_address
            if turns_away(address):
                self._counts["turned_away"] += 1
                return
            if address not in self._handshakes:
                while len(self._handshakes) >= self.max_half_open:
                    self._evict_half_open()
            session = None
            with contained(f"handshake with {address[0]}") as outcome:
                session = await self._shake_hands(channel, self.handshake_timeout, client=False)
            if session is None:
                log.debug("%s: handshake failed: %s", address, outcome.error)
                return
            try:
                await handler(session)
            finally:
                session.close()

        self._check_open()
        self._serving = True
        self.handshake_timeout = handshake_timeout
        self.max_half_open = max_half_open
        try:
            await self._dtls.serve(context, accept, task_status=task_status)
        finally:
            self._serving = False

    def _evict_half_open(self) -> None:
        """Give up one handshake, of the host that is the greediest."""
        hosts = Counter(address[0] for address in self._handshakes)
        greediest = hosts.most_common(1)[0][0]
        oldest = next(address for address in self._handshakes if address[0] == greediest)
        self._counts["half_open_evicted"] += 1
        self._handshakes.pop(oldest).scope.cancel()

    @of_python
    async def connect(
        self,
        address: Address,
        context: SSL.Context,
        *,
        timeout: float,  # noqa: ASYNC109 - reported as LinkLost, with what is known of the cause
    ) -> DtlsSession:
        """Open a session with the peer at ``address``, within ``timeout`` seconds.

        Raises LinkLost if there is no answer in time, BadPacket if the handshake goes wrong.
        """
        self._check_open()
        address = self._udp.peer or address
        channel = self._dtls.connect(address, context)
        failure: BadPacket | LinkLost | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._socket.repeat_hello, address)
                try:
                    return await self._shake_hands(channel, timeout, client=True)
                except (BadPacket, LinkLost) as error:
                    failure = error
                finally:
                    nursery.cancel_scope.cancel()
            raise failure
        except BaseException:
            channel.close()
            # A classic router holds a place for us, and no other, until it hears this.
            self._send_plaintext_alert(address, WARNING, CLOSE_NOTIFY)
            raise

    @of_python
    async def _shake_hands(
        self, channel: trio.DTLSChannel, seconds: float, *, client: bool
    ) -> DtlsSession:
        address = channel.peer_address
        handshake = _Handshake(address, channel._ssl)
        self._handshakes[address] = handshake
        self._socket.guards[address] = handshake.guard
        handshake.scope.deadline = trio.current_time() + seconds
        session = None
        try:
            with handshake.scope:
                channel.set_ciphertext_mtu(HANDSHAKE_MTU)
                await channel.do_handshake()
                session = self._establish(channel, handshake, client=client)
                return session
            self._give_up(handshake, seconds)
        except SSL.Error as error:
            self._pass_on_alert(channel)
            raise BadPacket(f"the DTLS handshake failed: {reason_of(error)}") from error
        except trio.BrokenResourceError as error:
            raise LinkLost("the peer abandoned the DTLS handshake for a newer one") from error
        except trio.ClosedResourceError as error:
            raise LinkLost("the DTLS endpoint was closed during a handshake") from error
        finally:
            if self._handshakes.get(address) is handshake:
                del self._handshakes[address]
            if session is None:
                self._counts["failed"] += 1
                if self._socket.guards.get(address) is handshake.guard:
                    del self._socket.guards[address]

    def _establish(
        self, channel: trio.DTLSChannel, handshake: _Handshake, *, client: bool
    ) -> DtlsSession:
        self._check_open()
        taken = take_over(channel._ssl, handshake.guard, client=client)
        # It holds 70 kB. Trio repeats our last flight, which is all that may still be asked of the
        # channel, without OpenSSL.
        del channel._ssl
        address = handshake.address
        replaced = self._sessions.get(address)
        session = DtlsSession(self._forget, self._udp, address, taken)
        self._sessions[address] = session
        self._counts["completed"] += 1
        if replaced is not None:
            self._counts["replaced"] += 1
            replaced.end()
        for datagram in handshake.early:
            session.deliver_nowait(datagram, len(datagram))
        return session

    def _give_up(self, handshake: _Handshake, seconds: float) -> NoReturn:
        if handshake.alert is not None:
            level, description = handshake.alert
            text = _ALERTS.get(description, f"alert {description}")
            kind = "fatal" if level == FATAL else "warning"
            raise LinkLost(f"the peer refused the DTLS handshake: {text} ({kind})")
        error = self._udp.last_error
        hint = f" (the network says: {error.strerror or error})" if error is not None else ""
        raise LinkLost(f"the DTLS handshake was not finished within {seconds:g} s{hint}")

    def _pass_on_alert(self, channel: trio.DTLSChannel) -> None:
        """Send the alert that OpenSSL has left when it refused the handshake at once."""
        try:
            left = channel._ssl.bio_read(1 << 14)
        except SSL.Error:
            return
        if len(left) == records.HEADER_BYTES + 2 and left[0] == records.ALERT:
            self._send_plaintext_alert(channel.peer_address, left[-2], left[-1])

    def _send_plaintext_alert(self, address: Address, level: int, description: int) -> None:
        if not self._closed:
            alert = plaintext_alert(level, description)
            self._udp.send_batch_nowait(alert, array("H", [len(alert)]), 1, address)

    # 3. The end

    def _forget(self, session: DtlsSession) -> None:
        """Take a session that has ended off the list; done by the session itself."""
        address = session.peer_address
        if self._sessions.get(address) is session:
            del self._sessions[address]
            self._own_sockets.take_away(address)
            if address not in self._handshakes:
                self._socket.guards.pop(address, None)

    def close(self) -> None:
        """Close all sessions with close_notify, then the socket."""
        if self._closed:
            return
        for session in list(self._sessions.values()):
            session.close()
        self._closed = True
        self._dtls.close()
        self._own_sockets.close()
        self._udp.close()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the DTLS endpoint was closed")

    def statistics(self) -> EndpointStatistics:
        """Return the counters."""
        counts = self._counts
        return EndpointStatistics(
            sessions=len(self._sessions),
            half_open=len(self._handshakes),
            completed=counts["completed"],
            failed=counts["failed"],
            replaced=counts["replaced"],
            half_open_evicted=counts["half_open_evicted"],
            turned_away=counts["turned_away"],
            stranger_dropped=counts["stranger_dropped"],
            malformed_dropped=counts["malformed_dropped"],
            small_hello_dropped=counts["small_hello_dropped"],
            challenged=counts["challenged"],
            unanswered=self._cookies.unanswered,
            not_serving_dropped=counts["not_serving_dropped"],
            rate_limited=counts["rate_limited"],
            handshake_overflow=self._socket.overflow,
            handshake_unsent=self._socket.unsent,
            alert_ignored=counts["alert_ignored"],
            early_overflow=counts["early_overflow"],
            outgoing_blocked=self._socket.blocked,
            own_sockets=len(self._own_sockets),
        )
