"""The vector of packets that all stages pass on.

Python pays per call, so nothing on the data path handles a single packet: tasks hand each
other whole runs of frames in one buffer.
"""

from __future__ import annotations

import attrs


@attrs.frozen(slots=True)
class FrameBatch:
    """Whole frames back to back: an 8-byte PolePacket header and a payload each.

    ``data`` belongs to whoever holds the batch: the producer never touches it again, so a
    consumer may keep slices of it as long as it likes. ``packets`` is the number of frames.
    """

    data: bytes | bytearray | memoryview
    packets: int
