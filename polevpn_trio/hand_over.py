"""One link takes over from another without losing or reordering a packet: both parts.

Who sends gives nothing more to the old link, holds back what comes, and lets it go by the new
link when the peer has passed on all that came by the old one. A frame tells that (`codec.BARRIER`,
answered by ``BARRIER_PASSED``): it follows the packets in the old link's stream, or, where packets
travel beside the stream, their acknowledgement.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from polevpn_trio.frames import codec
from polevpn_trio.transport.base import Link
from polevpn_trio.transport.outgoing import OutgoingQueue

HAND_OVER_SECONDS = 5.0
"""How long what is under way on an old link may take to arrive. Then it is given up: nothing may
hold up a site for ever."""


class Succession:
    """Where a connection stands between the one before it and the one after it."""

    def __init__(self, link: Link, outgoing: OutgoingQueue) -> None:
        self._link = link
        self._outgoing = outgoing
        self._predecessor: Succession | None = None
        self._successor: Succession | None = None
        self._has_successor = False
        self._left = trio.Event()
        self._passed = trio.Event()
        self._in_use = trio.Event()
        self._in_use.set()

    def take_over_from(self, old: Succession) -> bool:
        """Get what waits for ``old``, and hold it until what has left there has arrived.

        False if another has done so already.
        """
        if old is self._predecessor:
            return True
        if self._predecessor is not None or old._has_successor:
            return False
        self._predecessor = old
        self._outgoing.held = True
        self._in_use = trio.Event()
        old._leave_to(self)
        return True

    def _leave_to(self, successor: Succession) -> None:
        self._successor, self._has_successor = successor, True
        self._outgoing.move_packets_to(successor._outgoing, trio.current_time())
        self._left.set()

    def passed(self) -> None:
        """Note that the peer has passed on all that came before our BARRIER."""
        self._passed.set()

    async def leave(self, send_barrier: Callable[[], object]) -> None:
        """Task "leaving": once there is a successor, see that it overtakes nothing, then end.

        ``send_barrier`` sends a BARRIER behind all that was given to the link's stream.
        """
        try:
            await self._left.wait()
            with trio.move_on_after(HAND_OVER_SECONDS):
                # What went to our own predecessor must have arrived before what follows us.
                await self._in_use.wait()
                await self._link.settle()
                send_barrier()
                await self._passed.wait()
        finally:
            # Whoever still knows us shall not know all that come after us too.
            successor, self._successor = self._successor, None
            if successor is not None:
                successor.use()
        # The gateway ends the connection once it has sent all that it had here.
        await trio.sleep(HAND_OVER_SECONDS)

    def use(self) -> None:
        """Let go what was held: all that went the old way has arrived."""
        self._outgoing.held = False
        self._predecessor = None
        self._in_use.set()
        self._link.flush()


BEAT = codec.build_frame(codec.HEART_BEAT)
_BARRIER = codec.build_frame(codec.BARRIER)
_PASSED = codec.build_frame(codec.BARRIER_PASSED)


class ControlFrames:
    """The control frames that a gateway sends, and the end of its link's use that they tell."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._due = trio.Event()
        self._frames: dict[bytes, None] = {}
        self._passed = trio.Event()
        self._answered = trio.Event()

    def send(self, frame: bytes) -> None:
        """Have a frame sent; once, if it is due already."""
        self._frames[frame] = None
        self._due.set()

    async def run(self) -> None:
        """Task "heartbeat": send them. A link that takes no more holds up only this task."""
        while True:
            await self._due.wait()
            self._due = trio.Event()
            frames, self._frames = list(self._frames), {}
            await self._link.send_batch(frames)
            if _PASSED in frames:
                self._answered.set()

    def take(self, command: int) -> None:
        """Take a BARRIER of the router's, when all that came before has been passed on, or its
        answer to ours; nothing else matters here."""
        if command == codec.BARRIER:
            self.send(_PASSED)
        elif command == codec.BARRIER_PASSED:
            self._passed.set()

    async def leave(self, outgoing: OutgoingQueue, switch: Callable[[], None]) -> None:
        """Bring to an end what is under way here, and have ``outgoing`` wait meanwhile.

        Call ``switch`` when another link may be used, and return when this one is needed no more.
        """
        outgoing.held = True
        with trio.move_on_after(HAND_OVER_SECONDS):
            await self._link.settle()
            self.send(_BARRIER)
            await self._passed.wait()
        switch()
        # The router does the same, and tells us when all that it sent here has come.
        with trio.move_on_after(HAND_OVER_SECONDS):
            await self._answered.wait()
