"""How much may be protected under one key of AES-GCM or ChaCha20-Poly1305.

RFC 8446 section 5.5 allows 2^24.5 records of 2^14 bytes, after which somebody who sees them all
can tell them from random bytes with a chance of 2^-60. What counts is the blocks of 16 bytes that
the cipher has made: records shorter than that allow for more of them. RFC 9147 section 4.5.3 adds
that no more than 2^36 records may fail to open under one key.
"""

from __future__ import annotations

BLOCK_BYTES = 16

MOST_BLOCKS = 2**34
"""Blocks under one key: 2^24.5 records of 2^10 would be two fifths more, which leaves room for a
batch that is counted too late."""

BLOCKS_PER_RECORD = 3
"""Blocks that a record costs beside its whole ones: a part of one, additional data, the tag."""

MOST_FAILURES = 1 << 36
"""Records that may fail to open under one key."""

LEAST_FRAME_BYTES = 28
"""Bytes of the shortest frame with a packet: no record of a stream holds less, but for heartbeats
and answers, of which there are few."""

MOST_STREAM_BYTES = (
    MOST_BLOCKS * LEAST_FRAME_BYTES // (-(-LEAST_FRAME_BYTES // BLOCK_BYTES) + BLOCKS_PER_RECORD)
)
"""Bytes in one direction of a TLS connection, were every frame the shortest and in a record of
its own: TLS tells nobody how many records it makes."""


def record_share(records: int, plain_bytes: int) -> float:
    """Return the share of what may be that these records are, with ``plain_bytes`` in them."""
    return (plain_bytes / BLOCK_BYTES + BLOCKS_PER_RECORD * records) / MOST_BLOCKS


def stream_share(stream_bytes: int) -> float:
    """Return the share that so many bytes in one direction of a TLS connection are, at most."""
    return stream_bytes / MOST_STREAM_BYTES
