"""Asks a router, from outside, by TCP and by UDP; sends no key.

Over TCP: a TLS handshake, and a request for a page, whose answer tells the router's clock. Over
UDP: ClientHellos of growing size with DF set, which find out what is the largest packet that
passes, then one DTLS handshake. A stranger's scanner would do the same, and the router treats us
as one.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import math
import os
import socket
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import attrs
import trio

from polevpn_trio.doctor.client_hello import client_hello, is_answer_untrusted, smallest_hello
from polevpn_trio.doctor.mtu_search import ATTEMPTS, MtuSearch
from polevpn_trio.errors import PoleVpnError
from polevpn_trio.transport import dtls, tls
from polevpn_trio.transport.handshake import plaintext_alert
from polevpn_trio.transport.udp import UdpSocket

CONNECT_TIMEOUT = 4.0
"""Seconds for each of: TCP connection, TLS handshake, DTLS handshake."""

PAGE_TIMEOUT = 1.0
"""Seconds, beside some round trips, to wait for a page, which the originals do not have."""

FIRST_ANSWER = 1.0
"""Seconds to wait for the first answer to a ClientHello, each time of ATTEMPTS."""

SHORTEST_WAIT, ROUND_TRIPS = 0.25, 4
"""Seconds, and multiples of the first round trip, that later answers are waited for."""

LARGEST_PACKET = 1500
"""Bytes, with IP header. What we send is smaller, whatever the path could carry."""

UDP_HEADER = 8
IP_HEADER = {4: 20, 6: 40}

_LARGEST_PAGE = 8192
_WARNING, _CLOSE_NOTIFY = 1, 0

# linux/in.h, in6.h: send with DF, whatever the kernel believes the path's MTU to be.
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PROBE = 10, 23, 3
_NO_WAY = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_FIRST_SEQUENCE = 1 << 12
"""Record number before that of the first hello: not one that a server begins with by itself, and
all of ours below that of `plaintext_alert`, which would else be taken for a replay."""

Progress = Callable[[str, float | None], None]
"""Is told in a few words what is being tried now, and which share of a search is done (0 to 1)."""


@attrs.frozen
class PeerFacts:
    """What asking one port of a router gave.

    ``error`` is "" if there was an answer; ``refused`` tells that an answer said no.
    """

    error: str = ""
    refused: bool = False
    no_way: bool = False
    """Packets for it cannot even leave this machine."""
    chain: tuple[bytes, ...] = ()
    """The certificates that it showed, in DER, its own first."""
    round_trip: float = math.nan
    """Seconds, from a question to its answer."""
    clock: datetime.datetime | None = None
    """Its clock, when it tells it by a page's date (TCP)."""
    asked_at: datetime.datetime | None = None
    """Our clock at that moment."""
    path_mtu: int = 0
    """Bytes of the largest IP packet that passes (UDP); 0 if that was not found out."""
    shaken_hands: bool = False
    """The handshake went well; ``handshake_error`` says why not."""
    handshake_error: str = ""


async def ask_by_tcp(address: tuple[int, str], port: int, host: str) -> PeerFacts:
    """Connect, shake hands, and ask for a page. ``host`` is the name that goes into it."""
    family, text = address
    started = trio.current_time()
    try:
        with trio.fail_after(CONNECT_TIMEOUT):
            with trio.socket.socket(family, socket.SOCK_STREAM) as connecting:
                await connecting.connect((text, port))
                plain = socket.socket(fileno=connecting.detach())
    except trio.TooSlowError:
        return PeerFacts(f"no answer in {CONNECT_TIMEOUT:g} s")
    except OSError as error:
        return _not_connected(error)
    round_trip = trio.current_time() - started
    try:
        with trio.fail_after(CONNECT_TIMEOUT):
            stream = await tls.TlsStream.handshake(plain, tls.client_context(), server_name=host)
    except trio.TooSlowError:
        plain.close()
        return PeerFacts(round_trip=round_trip, handshake_error="no TLS answer")
    except PoleVpnError as error:
        return PeerFacts(round_trip=round_trip, handshake_error=str(error))
    with contextlib.closing(stream):
        clock = asked_at = None
        with trio.move_on_after(PAGE_TIMEOUT + ROUND_TRIPS * round_trip):
            asked_at = datetime.datetime.now(datetime.UTC)
            clock = await _ask_for_page(stream, host)
        return PeerFacts(
            chain=stream.peer_chain(),
            round_trip=round_trip,
            clock=clock,
            asked_at=asked_at,
            shaken_hands=True,
        )


async def _ask_for_page(stream: tls.TlsStream, host: str) -> datetime.datetime | None:
    name = f"[{host}]" if ":" in host else host
    if not name.isascii():
        name = name.encode("idna").decode("ascii")
    request = f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
    answer = b""
    try:
        await stream.send_all(request.encode("ascii"))
        while len(answer) < _LARGEST_PAGE and b"\r\n\r\n" not in answer:
            piece = await stream.receive_some()
            if not piece:
                break
            answer += piece
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        # A router of the originals, which knows no pages; or who wants a certificate of ours.
        return None
    return date_untrusted(answer)


def date_untrusted(answer: bytes) -> datetime.datetime | None:
    """Give the date that stands in the head of an HTTP response, None if there is none."""
    head, _, _ = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1."):
        return None
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"date":
            try:
                date = parsedate_to_datetime(value.strip().decode("ascii"))
            except (ValueError, TypeError, IndexError, OverflowError):
                return None
            return date if date.tzinfo else None
    return None


async def ask_by_udp(address: tuple[int, str], port: int, progress: Progress) -> PeerFacts:
    """Ask whether DTLS answers, how large packets may be, and shake hands."""
    family, text = address
    version = 6 if family == socket.AF_INET6 else 4
    try:
        asking = await _HelloSocket.open(family, text, port)
    except OSError as error:
        return _not_connected(error)
    with asking:
        progress("ClientHello", None)
        facts = await _first_answer(asking)
        if facts.error:
            return facts
        headers = UDP_HEADER + IP_HEADER[version]
        wait = max(SHORTEST_WAIT, ROUND_TRIPS * facts.round_trip)
        search = MtuSearch(headers + smallest_hello(), LARGEST_PACKET)
        steps = search.steps_left
        while (size := search.next_size()) is not None:
            progress(f"packets of {size} bytes", 1 - search.steps_left / steps)
            answer = await asking.ask(size - headers, wait)
            if answer.refused:
                search.refused(size)
            elif answer.error:
                search.lost(size)
            else:
                search.answered(size)
    progress("DTLS handshake", None)
    chain, handshake_error = await _shake_hands((text, port))
    return attrs.evolve(
        facts,
        path_mtu=search.passed,
        chain=chain,
        shaken_hands=not handshake_error,
        handshake_error=handshake_error,
    )


async def _first_answer(asking: _HelloSocket) -> PeerFacts:
    facts = PeerFacts("not asked")
    for _ in range(ATTEMPTS):
        facts = await asking.ask(smallest_hello(), FIRST_ANSWER)
        if not facts.error or facts.refused:
            break
    return facts


async def _shake_hands(address: tuple[str, int]) -> tuple[tuple[bytes, ...], str]:
    """Return the router's certificates, or why there is no session."""
    chain: tuple[bytes, ...] = ()
    try:
        endpoint = dtls.DtlsEndpoint(UdpSocket.connect(address))
    except PoleVpnError as error:
        return chain, str(error)
    problem = ""
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(endpoint.run)
            try:
                session = await endpoint.connect(
                    address, dtls.client_context(), timeout=CONNECT_TIMEOUT
                )
                chain = session.peer_chain
                session.close()
            except PoleVpnError as error:
                problem = str(error)
            nursery.cancel_scope.cancel()
    finally:
        endpoint.close()
    return chain, problem


class _HelloSocket:
    """A socket on one port, from which all hellos of a probe come; close it by ``with``."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._socket = sock
        self._random = os.urandom(32)
        self._sequence = _FIRST_SEQUENCE
        # A server ought to answer under the number of our record (RFC 6347 section 4.2.1), which
        # tells late answers from the right one; not all do.
        self._repeats_sequence = True

    @classmethod
    async def open(cls, family: int, address: str, port: int) -> _HelloSocket:
        """Raises OSError."""
        sock = trio.socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PROBE)
            else:
                sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PROBE)
            await sock.connect((address, port))
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    def __enter__(self) -> _HelloSocket:
        return self

    def __exit__(self, *_: object) -> None:
        # An original of the router would wait for the rest of a handshake, with its listener; it
        # takes an unencrypted alert for the end.
        with self._socket:
            raw = socket.socket(fileno=os.dup(self._socket.fileno()))
            with raw:
                try:
                    raw.send(plaintext_alert(_WARNING, _CLOSE_NOTIFY))
                except OSError:
                    return

    async def ask(self, size: int, seconds: float) -> PeerFacts:
        """Send a hello of ``size`` bytes and wait for its answer."""
        self._sequence += 1
        hello = client_hello(self._random, self._sequence, size)
        # What the network reported about an earlier hello is not about this one.
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        started = trio.current_time()
        try:
            with trio.fail_after(seconds):
                await self._socket.send(hello)
                while True:
                    answer = await self._socket.recv(LARGEST_PACKET)
                    if self._is_answer(answer):
                        return PeerFacts(round_trip=trio.current_time() - started)
        except trio.TooSlowError:
            return PeerFacts("no answer")
        except OSError as error:
            refused = error.errno in (errno.ECONNREFUSED, errno.EMSGSIZE)
            return PeerFacts(_reason(error), refused)

    def _is_answer(self, datagram: bytes) -> bool:
        if not is_answer_untrusted(datagram):
            return False
        number = int.from_bytes(datagram[5:11], "big")
        if self._sequence == _FIRST_SEQUENCE + 1:
            self._repeats_sequence = number == self._sequence
        return not self._repeats_sequence or number == self._sequence


def _not_connected(error: OSError) -> PeerFacts:
    return PeerFacts(
        _reason(error),
        refused=error.errno == errno.ECONNREFUSED,
        no_way=error.errno in _NO_WAY,
    )


def _reason(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:
        return "connection refused: nothing listens there"
    # Trio's own text has the address as Python writes it.
    return (os.strerror(error.errno) if error.errno else str(error)).lower()
