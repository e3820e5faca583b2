"""What stands between trio.DTLSEndpoint and the network during a DTLS handshake.

OpenSSL, driven by Trio, does the handshake; then the record layer of this package takes the
keys over, as the kernel does for TLS. Two things must hold after that:

* OpenSSL never writes another record under those keys. All it may still cause to be sent is
  the last flight of the handshake again, byte for byte, when the peer did not get it.
  `FlightGuard` sees to that.
* Our nonces are none of those that OpenSSL used. AES-GCM's explicit nonce in OpenSSL is a
  counter with a random start; the guard sees where it started, in the Finished message.
  `take_over` lets ours count from half the number space away.
"""

from __future__ import annotations

from array import array

import attrs
import trio
from OpenSSL import SSL

from polevpn_trio.batch import DatagramBuffer
from polevpn_trio.control.session_identity import SessionIdentity
from polevpn_trio.errors import BadPacket
from polevpn_trio.transport import records
from polevpn_trio.transport.openssl import peer_chain, session_identity
from polevpn_trio.transport.udp import Address, BatchSocket

FIRST_SEQUENCE = 1 << 16
"""Our first record sequence number, far above those of a handshake. Receivers accept a jump
ahead of any size (RFC 6347 section 4.1.2.6)."""
NONCE_DISTANCE = 1 << 63
"""Our explicit nonces start this far from OpenSSL's first, plus the sequence number."""
MAX_OPENSSL_RECORDS = FIRST_SEQUENCE
"""No handshake seals more records than this; one seals a single Finished, normally."""
MAX_REMEMBERED_RECORDS = 16
MAX_QUEUED_DATAGRAMS = 256
"""Handshake datagrams waiting for Trio's loop, of all peers together."""
PLAINTEXT_ALERT_SEQUENCE = 1 << 16
"""Record number of an alert sent during a handshake: above those used so far, so that the
peer does not take it for a replay."""

_SEALED, _OPENED = DatagramBuffer(), DatagramBuffer()
"""Where the sessions of this process, all in one thread, seal and open their records."""

# RFC 6347 section 4.2.2.
CLIENT_HELLO = 1
HELLO_VERIFY_REQUEST = 3


def split_records_untrusted(datagram: bytes) -> list[bytes]:
    """Cut a datagram into its records, headers included.

    Raises BadPacket when the lengths do not add up.
    """
    found = []
    at = 0
    while at < len(datagram):
        body = at + records.HEADER_BYTES
        end = body + int.from_bytes(datagram[body - 2 : body], "big")
        if body > len(datagram) or end > len(datagram):
            raise BadPacket("a DTLS record is cut short")
        found.append(datagram[at:end])
        at = end
    return found


def epoch_of(record: bytes) -> int:
    """Return the epoch of a whole record: 0 as long as nothing is encrypted."""
    return int.from_bytes(record[3:5], "big")


def plaintext_alert(level: int, description: int) -> bytes:
    """Build an alert record in epoch 0, for a handshake that will not be finished."""
    sequence = PLAINTEXT_ALERT_SEQUENCE.to_bytes(6, "big")
    return bytes((records.ALERT, 0xFE, 0xFD, 0, 0)) + sequence + bytes((0, 2, level, description))


class FlightGuard:
    """Watches what a handshake sends, and after it lets only that be sent again."""

    def __init__(self) -> None:
        self.sealed: list[bytes] = []
        """The encrypted records sent so far, in order, each once."""
        self._frozen = False

    def freeze(self) -> None:
        """From now on refuse encrypted records that were not sent before."""
        self._frozen = True

    def admits(self, datagram: bytes) -> bool:
        """Whether a datagram may leave; remembers its encrypted records."""
        try:
            found = split_records_untrusted(datagram)
        except BadPacket:
            return False
        new = [record for record in found if epoch_of(record) and record not in self.sealed]
        if new and (self._frozen or len(self.sealed) + len(new) > MAX_REMEMBERED_RECORDS):
            return False
        self.sealed += new
        return True


@attrs.frozen
class TakenOver:
    """What is left of a handshake.

    The two halves of our record layer, OpenSSL's name of the suite, what identifies the session,
    and for a client the certificates that the server has shown.
    """

    sealer: records.RecordSealer
    opener: records.RecordOpener
    cipher: str
    identity: SessionIdentity
    peer_chain: tuple[bytes, ...] = ()


def nonce_base(observed: list[int]) -> int:
    """Choose where our explicit nonces count from, given those that OpenSSL was seen to use.

    OpenSSL's are n, n + 1, ... (modulo 2^64), fewer than 2^16. Ours are n + 2^63 + s for
    sequence numbers s from 2^16 to 2^48, so no two are ever equal. Raises BadPacket if those
    observed are not such a run.
    """
    first = observed[0]
    if any((nonce - first) % 2**64 >= MAX_OPENSSL_RECORDS for nonce in observed):
        raise BadPacket("the nonces of the handshake are not the counter they ought to be")
    return first ^ NONCE_DISTANCE


def take_over(connection: SSL.Connection, guard: FlightGuard, *, client: bool) -> TakenOver:
    """Derive our record layer from a finished handshake, and freeze the guard.

    Raises BadPacket if the suite is not one of ours, or if the keys do not open what OpenSSL
    itself sealed with them.
    """
    guard.freeze()
    cipher = connection.get_cipher_name() or ""
    master_key = connection.master_key()
    client_random = connection.client_random()
    server_random = connection.server_random()
    if cipher not in records.SUITES or None in (master_key, client_random, server_random):
        raise BadPacket(f"the handshake ended with an unusable cipher suite {cipher!r}")
    keys = records.derive_keys(
        master_key or b"", client_random or b"", server_random or b"", cipher
    )
    own = (keys.client_key, keys.client_iv)
    peer = (keys.server_key, keys.server_iv)
    if not client:
        own, peer = peer, own
    # Records of an earlier handshake with the same address do not open, and do not matter.
    observed = [
        int.from_bytes(record[13:21], "big")
        for record in guard.sealed
        if records.open_record(*own, record) is not None
    ]
    if not observed:
        raise BadPacket("the handshake's own Finished does not open with its keys")
    return TakenOver(
        records.RecordSealer(*own, FIRST_SEQUENCE, nonce_base(observed), _SEALED),
        records.RecordOpener(*peer, _OPENED),
        cipher,
        session_identity(connection, client=client),
        peer_chain(connection) if client else (),
    )


HELLO_INTERVALS = (0.15, 0.3, 0.6)
"""Seconds between repetitions of an unanswered ClientHello; the last holds for all that follow.
The first ones are short for the sake of who is called in a flood, of which half is answered."""


class HandshakeSocket(trio.socket.SocketType):
    """The socket that trio.DTLSEndpoint believes to be using.

    It receives only what `feed` gives it, and sends only what the guard of the peer's address
    admits, or, to strangers, the stateless HelloVerifyRequest.
    """

    def __init__(self, udp: BatchSocket) -> None:
        super().__init__()
        self.guards: dict[Address, FlightGuard] = {}
        self.overflow = 0
        """Datagrams dropped because Trio's loop was too far behind."""
        self.blocked = 0
        """Datagrams that were not allowed to leave."""
        self.unsent = 0
        """Datagrams dropped because the send buffer was full; the handshake repeats them."""
        self._udp = udp
        self._hello: bytes | None = None
        self._answered = False
        self._put, self._take = trio.open_memory_channel[tuple[bytes, Address]](
            MAX_QUEUED_DATAGRAMS
        )

    @property
    def family(self) -> int:  # type: ignore[override]  # an enum upstream, compared as a number
        """The address family, from which Trio concludes the size of IP headers."""
        return self._udp.family

    @property
    def type(self) -> int:  # type: ignore[override]  # an enum upstream, compared as a number
        """Always SOCK_DGRAM."""
        return trio.socket.SOCK_DGRAM

    def getsockname(self) -> Address:
        """Return our own address."""
        return self._udp.getsockname()

    def feed(self, datagram: bytes, address: Address) -> None:
        """Hand a received datagram to Trio, or drop and count it."""
        self._answered = True
        try:
            self._put.send_nowait((datagram, address))
        except (trio.WouldBlock, trio.BrokenResourceError):
            self.overflow += 1

    async def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Address]:
        """Wait for the next datagram that was fed."""
        return await self._take.receive()

    async def sendto(  # type: ignore[override]  # the one of the overloads that Trio's DTLS uses
        self, data: bytes, address: Address, /
    ) -> int:
        """Send one datagram if it may leave; never raises errors of the network."""
        await trio.lowlevel.checkpoint()
        datagram = bytes(data)
        guard = self.guards.get(address)
        admitted = guard is not None and guard.admits(datagram)
        if not admitted and not is_hello_verify_request(datagram):
            self.blocked += 1
        else:
            if self._hello is None and is_client_hello_untrusted(datagram):
                self._hello = datagram
            self.send_nowait(datagram, address)
        return len(datagram)

    def send_nowait(self, datagram: bytes, address: Address) -> None:
        """Send one datagram, which nothing is asked of, or drop and count it."""
        if not self._udp.send_batch_nowait(datagram, array("H", [len(datagram)]), 1, address):
            self.unsent += 1

    async def repeat_hello(self, address: Address) -> None:
        """Repeat our first ClientHello at short intervals until anything is answered.

        The timer of RFC 6347 doubles, and would have a router that has just come back wait for
        seconds; a hello is small, and a repeated one is answered without any state.
        """
        pauses = iter(HELLO_INTERVALS)
        while not self._answered:
            await trio.sleep(next(pauses, HELLO_INTERVALS[-1]))
            if self._hello is not None and not self._answered:
                self.send_nowait(self._hello, address)

    def close(self) -> None:
        """Let Trio's receive loop end. The UDP socket is not touched."""
        # Not the sending half: Trio's loop takes the end of a channel for a fault of ours.
        self._take.close()


def is_hello_verify_request(datagram: bytes) -> bool:
    """Whether this is one HelloVerifyRequest and nothing else."""
    return (
        len(datagram) > records.HEADER_BYTES
        and datagram[0] == records.HANDSHAKE
        and epoch_of(datagram) == 0
        and datagram[records.HEADER_BYTES] == HELLO_VERIFY_REQUEST
        and len(datagram) == records.HEADER_BYTES + int.from_bytes(datagram[11:13], "big")
    )


def is_client_hello_untrusted(datagram: bytes) -> bool:
    """Whether a datagram starts with a plaintext ClientHello."""
    return (
        len(datagram) > records.HEADER_BYTES
        and datagram[0] == records.HANDSHAKE
        and epoch_of(datagram) == 0
        and datagram[records.HEADER_BYTES] == CLIENT_HELLO
    )
