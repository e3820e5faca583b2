"""The vectors of packets and datagrams that the stages pass on.

Python pays per call, so nothing on the data path handles a single packet: tasks hand each
other whole runs of frames in one buffer.
"""

from __future__ import annotations

from array import array

SEQUENCES_ZERO = 0
"""``seq`` of all frames is 0: each holds one ordinary packet."""
SEQUENCES_OFFLOAD = 1
"""``seq`` of some is the segment size of the super-packet in it (frames/segmentation.py)."""
SEQUENCES_FOREIGN = 2
"""``seq`` of some is not 0 and means nothing: they came from a peer of the classic dialect."""


class FrameBatch:
    """Whole frames back to back: an 8-byte PolePacket header and a payload each.

    ``data`` belongs to whoever holds the batch: the producer never touches it again, so a
    consumer may keep slices of it as long as it likes. ``packets`` counts those inside
    super-packets each. ``sequences`` is one of the ``SEQUENCES_`` constants.
    """

    __slots__ = ("data", "packets", "sequences")

    def __init__(
        self,
        data: bytes | bytearray | memoryview,
        packets: int,
        sequences: int = SEQUENCES_ZERO,
    ) -> None:
        self.data = data
        self.packets = packets
        self.sequences = sequences

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FrameBatch):
            return NotImplemented
        return (self.data, self.packets, self.sequences) == (
            other.data,
            other.packets,
            other.sequences,
        )

    __hash__ = None  # type: ignore[assignment]  # what is in it may change

    def __repr__(self) -> str:
        return f"FrameBatch({self.data!r}, {self.packets}, {self.sequences})"


class DatagramBuffer:
    """Room for datagrams back to back in ``datagrams``, and for the ``sizes`` of each.

    Several writers may share one, so that hundreds of links do not hold one each: what is in
    there is valid until any of them writes again. So they belong to one thread, and whoever reads
    it does so before awaiting anything. ``reserve`` may replace both members.
    """

    __slots__ = ("datagrams", "sizes", "view")

    def __init__(self, size: int = 0, count: int = 0) -> None:
        """Make room for ``size`` bytes in ``count`` datagrams."""
        self.datagrams = bytearray(size)
        self.view = memoryview(self.datagrams)
        """The same bytes, for slices that copy nothing."""
        self.sizes = array("H", bytes(2 * count))

    def reserve(self, size: int, count: int) -> None:
        """See to it that there is room for ``size`` bytes in ``count`` datagrams."""
        if size > len(self.datagrams):
            self.datagrams = bytearray(size)
            self.view = memoryview(self.datagrams)
        if count > len(self.sizes):
            self.sizes = array("H", bytes(2 * count))
