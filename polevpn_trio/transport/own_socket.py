"""Sockets that peers have for themselves, once the one they share cannot be emptied.

One receive buffer for all means that whoever sends too much makes others wait behind it, and
lose what does not fit. A connected socket on the same port has a buffer of its own, and the
kernel puts in there what its peer sends. Such sockets and the shared one take turns, so a peer
gets its share of the time whatever others send, and what a flood loses is its own.

Not every peer gets one at once: older kernels look at all sockets of a port for each datagram, so
few are better there, and an idle peer needs none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import attrs
import trio

from polevpn_trio.transport.udp import Address, BatchSocket

MOST_SOCKETS = 128
"""Peers with a socket of their own; 128 of them cost a kernel before 6.13 about a microsecond
for each datagram."""

IDLE_SECONDS = 10.0
"""Seconds without a datagram after which a socket may be given to somebody else, and after which
a kernel that has refused to make one is asked again."""

ORDER_SECONDS = 0.05
"""Seconds that a new socket may have to wait until the shared one is empty: what its peer has sent
there comes first. Under a flood that never ends, order is given up rather than the socket."""

Receive = Callable[[BatchSocket], object]
"""Takes what there is from a socket, without waiting and within a budget."""


@attrs.define(eq=False)
class _OwnSocket:
    udp: BatchSocket
    heard: float


class OwnSockets:
    """The sockets of single peers beside ``shared``; ``receive`` is called when one is readable.

    `serve` must be running for that.
    """

    def __init__(self, shared: BatchSocket, receive: Receive) -> None:
        self._shared = shared
        self._receive = receive
        self._sockets: dict[Address, _OwnSocket] = {}
        self._nursery: trio.Nursery | None = None
        self._emptied = trio.Event()
        # After the kernel has refused one.
        self._not_before = -math.inf

    def __len__(self) -> int:
        return len(self._sockets)

    async def serve(self) -> None:
        """Serve the sockets until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def note_emptied(self) -> None:
        """Note that nothing waits in the shared socket: no other can get ahead of it."""
        self._emptied.set()

    def give(self, addresses: Iterable[Address]) -> None:
        """Give these peers sockets of their own, as far as there are any left."""
        now = trio.current_time()
        if self._nursery is None or self._shared.peer is not None or now < self._not_before:
            return
        for address in addresses:
            if address in self._sockets or not self._make_room(now):
                continue
            udp = self._shared.split_off(address)
            if udp is None:
                self._not_before = now + IDLE_SECONDS
                return
            own = self._sockets[address] = _OwnSocket(udp, now)
            if self._emptied.is_set():
                self._emptied = trio.Event()
            self._nursery.start_soon(self._serve, own)

    def _make_room(self, now: float) -> bool:
        """Take a socket from whom it is of no use, if there are too many."""
        if len(self._sockets) < MOST_SOCKETS:
            return True
        address = min(self._sockets, key=lambda each: self._sockets[each].heard)
        if now - self._sockets[address].heard < IDLE_SECONDS:
            return False
        self.take_away(address)
        return True

    async def _serve(self, own: _OwnSocket) -> None:
        current_time = trio.lowlevel.current_clock().current_time

        def take() -> bool:
            if own.heard == math.inf:
                # Closed since it was found to be readable.
                return False
            own.heard = current_time()
            self._receive(own.udp)
            # What it said may have been goodbye.
            return own.heard != math.inf

        emptied = self._emptied
        with trio.move_on_after(ORDER_SECONDS):
            await emptied.wait()
        try:
            await own.udp.while_readable(take)
        except trio.ClosedResourceError:
            # Taken away: that, and the end of the endpoint, are why one is closed.
            if own.heard != math.inf:
                raise

    def take_away(self, address: Address) -> None:
        """Close the socket of a peer, if it has one."""
        own = self._sockets.pop(address, None)
        if own is not None:
            own.heard = math.inf
            own.udp.close()

    def close(self) -> None:
        """Close them all."""
        for address in list(self._sockets):
            self.take_away(address)
