"""The segment codec against segments that the originals' library encoded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polevpn_trio.kcp.segment import HEADER_SIZE, SegmentHeader

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "kcp_segments.json").read_text())


def fields(header: SegmentHeader) -> dict[str, int]:
    """Give a header's fields by the names that the vectors use."""
    return {
        "conv": header.conversation_id,
        "cmd": header.command,
        "frg": header.fragment,
        "wnd": header.window,
        "ts": header.timestamp,
        "sn": header.sequence,
        "una": header.acknowledged,
        "len": header.length,
    }


def filled(values: dict[str, int]) -> SegmentHeader:
    header = SegmentHeader()
    header.conversation_id = values["conv"]
    header.command = values["cmd"]
    header.fragment = values["frg"]
    header.window = values["wnd"]
    header.timestamp = values["ts"]
    header.sequence = values["sn"]
    header.acknowledged = values["una"]
    header.length = values["len"]
    return header


@pytest.mark.parametrize("vector", VECTORS["segments"], ids=lambda vector: vector["name"])
def test_reads_what_the_originals_wrote(vector: dict[str, Any]) -> None:
    header = SegmentHeader()
    header.read(b"\xff" * 3 + bytes.fromhex(vector["hex"]), 3)
    assert fields(header) == vector["fields"]


@pytest.mark.parametrize("vector", VECTORS["segments"], ids=lambda vector: vector["name"])
def test_writes_what_the_originals_wrote(vector: dict[str, Any]) -> None:
    wire = bytes.fromhex(vector["hex"])
    buffer = bytearray(b"\xaa" * (HEADER_SIZE + 5))
    filled(vector["fields"]).write(buffer, 2)
    assert buffer == b"\xaa\xaa" + wire[:HEADER_SIZE] + b"\xaa\xaa\xaa"


@pytest.mark.parametrize("vector", VECTORS["datagrams"], ids=lambda vector: vector["name"])
def test_reads_every_segment_of_a_datagram(vector: dict[str, Any]) -> None:
    wire = bytes.fromhex(vector["hex"])
    header = SegmentHeader()
    found = []
    at = 0
    while at < len(wire):
        header.read(wire, at)
        found.append(fields(header))
        at += HEADER_SIZE + header.length
    assert at == len(wire)
    assert found == vector["fields"]
