"""An established DTLS session with one peer: records in, records out, and its end.

The handshake is over when a session is made (`DtlsEndpoint`); nothing here waits for the
peer, and nothing the network sends here raises.
"""

from __future__ import annotations

import logging
from array import array
from collections import deque
from collections.abc import Callable
from typing import Protocol

import attrs
import trio

from polevpn_trio.control.token_bucket import TokenBucket
from polevpn_trio.coroutines import of_python
from polevpn_trio.errors import LinkLost
from polevpn_trio.transport import key_limits
from polevpn_trio.transport.handshake import TakenOver
from polevpn_trio.transport.udp import Address, BatchSocket

log = logging.getLogger(__name__)

# RFC 5246 section 7.2.
WARNING = 1
CLOSE_NOTIFY = 0

MAX_INCOMING_BATCHES = 128
"""Received batches that may wait for the owner of a session; 8 MiB at the very most."""
MAX_BACKLOG_BYTES = 1 << 20
"""Sealed records that may wait for room in the socket, per session."""
HANDSHAKE_TOKENS = 8.0
HANDSHAKE_TOKENS_PER_SECOND = 2.0
"""Handshake datagrams let through to Trio in the name of an established peer: enough for a
peer that restarts or lacks our last flight, too few to be worth forging."""


@attrs.frozen
class SessionStatistics:
    """Counters of one session, in records unless they say otherwise.

    ``incoming_overflow`` counts received batches that the owner was too slow for,
    ``send_overflow`` datagrams dropped because the socket stayed full,
    ``sent_after_end`` datagrams dropped because the session had ended.
    """

    cipher: str
    sealed: int
    sealed_bytes: int
    opened: int
    opened_bytes: int
    replayed: int
    bad_tag: int
    malformed: int
    epoch0_ignored: int
    other_epoch_ignored: int
    handshake_ignored: int
    unknown_ignored: int
    incoming_overflow: int
    send_overflow: int
    sent_after_end: int


def handshake_tokens() -> TokenBucket:
    """Make the bucket that handshake datagrams in the name of one peer take from."""
    return TokenBucket(HANDSHAKE_TOKENS_PER_SECOND, HANDSHAKE_TOKENS, trio.current_time())


class Owner(Protocol):
    """Who takes received batches at once, when nothing keeps it from doing so."""

    def take_untrusted(self, data: bytes, segment_size: int) -> bool:
        """Take a batch, or decline: then it waits in ``incoming``. Never raises."""

    def end_turn(self) -> None:
        """Act on what was taken: for now there is no more of it. Never raises."""


class DtlsSession:
    """An established session with one peer. Made by `DtlsEndpoint`.

    ``incoming`` yields (data, segment size) as received, for `open_batch_untrusted`; it ends
    with trio.EndOfChannel when the session is over, for whatever reason. What the ``owner``, if
    there is one, takes at once does not come that way. ``peer_closed`` tells whether the peer
    ended the session, by an authenticated alert. ``peer_chain`` are the certificates in DER that
    a server has shown; () if we are the server.
    """

    def __init__(
        self,
        forget: Callable[[DtlsSession], None],
        udp: BatchSocket,
        address: Address,
        taken: TakenOver,
    ) -> None:
        self.peer_address = address
        self.cipher = taken.cipher
        self.identity = taken.identity
        self.peer_chain = taken.peer_chain
        self.opener = taken.opener
        self.peer_closed = False
        self.handshake_tokens = handshake_tokens()
        self.owner: Owner | None = None
        self._forget = forget
        self._udp = udp
        self._sealer = taken.sealer
        self._ended = False
        self._deliver, self.incoming = trio.open_memory_channel[tuple[bytes, int]](
            MAX_INCOMING_BATCHES
        )
        # (records, sizes, how many, how many of them are sent)
        self._backlog: deque[tuple[bytes, array[int], int, int]] = deque()
        self._backlog_bytes = 0
        self._incoming_overflow = 0
        self._send_overflow = 0
        self._sent_after_end = 0

    def deliver_nowait(self, data: bytes, segment_size: int) -> bool:
        """Give a received batch to the owner, or queue it, or drop and count it. For the endpoint.

        True if the owner took it at once and is to be told when the turn ends.
        """
        if self._ended:
            return False
        if self.owner is not None and self.owner.take_untrusted(data, segment_size):
            return True
        try:
            self._deliver.send_nowait((data, segment_size))
        except (trio.WouldBlock, trio.BrokenResourceError):
            self._incoming_overflow += 1
        return False

    def wake(self) -> None:
        """Wake who waits on ``incoming``, by an empty batch."""
        if not self._ended:
            self._deliver.send_nowait((b"", 1))

    def open_batch_untrusted(self, data: bytes, segment_size: int) -> int:
        """Open the records of a received batch.

        Returns how many plaintexts are in ``opener.datagrams`` and ``opener.sizes``, valid
        until the next call. An alert ends the session, whatever it says, as the classic
        programs have it, and is answered by close_notify.
        """
        count = self.opener.open_batch_untrusted(data, segment_size)
        if self.opener.bad_tag >= key_limits.MOST_FAILURES:
            self.close()
        if self.opener.peer_alert is not None and not self.peer_closed:
            self.peer_closed = True
            self.close()
        return count

    def send_batch_nowait(
        self, datagrams: bytes | bytearray | memoryview, sizes: array[int], count: int
    ) -> bool:
        """Seal and send the first ``count`` datagrams, of at most 1,500 bytes each.

        False means that the socket is full and the rest is kept: call `drain` before sending
        more. Once the session has ended, everything is dropped and counted.
        """
        if self._ended:
            self._sent_after_end += count
            return True
        sealer = self._sealer
        if key_limits.record_share(sealer.sealed + count, sealer.sealed_bytes) >= 1:
            self.close()
            raise LinkLost("its keys are used up")
        sealer.seal_batch(datagrams, sizes, count)
        sent = 0
        if not self._backlog or self._send_backlog():
            sent = self._udp.send_batch_nowait(
                sealer.datagrams, sealer.sizes, count, self.peer_address
            )
            if sent == count:
                return True
        self._keep(count, sent)
        return False

    def _keep(self, count: int, sent: int) -> None:
        """Keep what the socket did not take; the sealer will overwrite its buffer."""
        sizes = self._sealer.sizes[:count]
        begin = sum(sizes[:sent])
        rest = bytes(memoryview(self._sealer.datagrams)[begin : sum(sizes)])
        if self._backlog_bytes + len(rest) > MAX_BACKLOG_BYTES:
            self._send_overflow += count - sent
            return
        self._backlog.append((rest, sizes[sent:], count - sent, 0))
        self._backlog_bytes += len(rest)

    def _send_backlog(self) -> bool:
        """Send what was kept; True if nothing is left."""
        while self._backlog:
            kept, sizes, count, first = self._backlog[0]
            first += self._udp.send_batch_nowait(kept, sizes, count, self.peer_address, first)
            if first < count:
                self._backlog[0] = (kept, sizes, count, first)
                return False
            self._backlog.popleft()
            self._backlog_bytes -= len(kept)
        return True

    @of_python
    async def drain(self) -> None:
        """Wait until the socket has taken everything, or the session has ended."""
        await trio.lowlevel.checkpoint()
        while not self._ended and not self._send_backlog():
            await self._udp.wait_writable()

    @property
    def key_use(self) -> float:
        """How much of what the keys may be used for they have been, as a share of it."""
        sealer, opener = self._sealer, self.opener
        return max(
            key_limits.record_share(sealer.sealed, sealer.sealed_bytes),
            key_limits.record_share(opener.opened, opener.opened_bytes),
            opener.bad_tag / key_limits.MOST_FAILURES,
        )

    def path_mtu(self) -> int:
        """Return the largest IP packet for the path to the peer, as the kernel knows it."""
        return self._udp.path_mtu(self.peer_address)

    def close(self) -> None:
        """End the session: send close_notify, once, and forget the peer."""
        if self._ended:
            return
        try:
            alert = self._sealer.seal_alert(WARNING, CLOSE_NOTIFY)
            # A farewell that finds no room is lost like one that the network loses.
            self._udp.send_batch_nowait(alert, array("H", [len(alert)]), 1, self.peer_address)
        except (trio.ClosedResourceError, LinkLost):
            log.debug("%s: no close_notify could be sent", self.peer_address)
        self.end()

    def end(self) -> None:
        """End the session without a word: the peer has started a new one."""
        self._ended = True
        self._backlog.clear()
        self._backlog_bytes = 0
        self._deliver.close()
        self._forget(self)

    def statistics(self) -> SessionStatistics:
        """Return the counters."""
        opener = self.opener
        return SessionStatistics(
            cipher=self.cipher,
            sealed=self._sealer.sealed,
            sealed_bytes=self._sealer.sealed_bytes,
            opened=opener.opened,
            opened_bytes=opener.opened_bytes,
            replayed=opener.replayed,
            bad_tag=opener.bad_tag,
            malformed=opener.malformed,
            epoch0_ignored=opener.epoch0_ignored,
            other_epoch_ignored=opener.other_epoch_ignored,
            handshake_ignored=opener.handshake_ignored,
            unknown_ignored=opener.unknown_ignored,
            incoming_overflow=self._incoming_overflow,
            send_overflow=self._send_overflow,
            sent_after_end=self._sent_after_end,
        )
