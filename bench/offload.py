"""Times cutting super-packets into frames, joining frames, and passing them whole, in both builds.

``python bench/offload.py [--json]`` prints microseconds per packet (of 1,500 bytes unless said
otherwise), the best of several rounds. The other build runs in a child process.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable

from polevpn_trio.batch import SEQUENCES_OFFLOAD
from polevpn_trio.frames.codec import FrameReader
from polevpn_trio.frames.ip import sum_words
from polevpn_trio.frames.segmentation import Segmenter
from polevpn_trio.tun import offload
from polevpn_trio.tun.offload import Coalescer, Splitter

ROUNDS = 5
NEEDS_CSUM = 1
GSO_TCPV4 = 1
GSO_TCPV6 = 4
ACK = 0x10


def super_packet(version: int, source_port: int, payload: int, segment_size: int) -> bytes:
    """Make a TCP super-packet as the kernel hands it over, behind its vnet header.

    ``payload`` and ``segment_size`` are in bytes. The checksums still to be finished are left
    at the pseudo-header's sum.
    """
    body = bytes(range(256)) * (payload // 256 + 1)
    tcp_length = 32 + payload
    if version == 4:
        addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + tcp_length, 1, 0x4000, 64, 6, 0) + addresses
    else:
        addresses = bytes.fromhex("fd00" + "00" * 13 + "01" + "fd00" + "00" * 13 + "02")
        ip = struct.pack("!IHBB", 0x60000000, tcp_length & 0xFFFF, 6, 64) + addresses
    pseudo = (int.from_bytes(addresses, "big") + 6 + tcp_length) % 0xFFFF
    tcp = struct.pack("!HHIIBBHHH", source_port, 5001, 7, 9, 0x80, ACK, 512, pseudo, 0)
    tcp += bytes([1, 1, 8, 10]) + bytes(8)
    kind = GSO_TCPV4 if version == 4 else GSO_TCPV6
    vnet = struct.pack("<BBHHHH", NEEDS_CSUM, kind, len(ip) + 32, segment_size, len(ip), 16)
    return vnet + ip + tcp + body[:payload]


def best_of(run: Callable[[], int]) -> float:
    """Return the least microseconds per packet; ``run`` does some work and counts packets."""
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        packets = run()
        best = min(best, (time.perf_counter() - begin) / packets * 1e6)
    return round(best, 4)


def measure(scale: float) -> dict[str, float]:
    """Run all cases in this process; ``scale`` is how much."""
    figures: dict[str, float] = {}
    rounds = max(1, int(200 * scale))
    payload = bytes(1448)

    def checksums() -> int:
        for _ in range(rounds * 20):
            sum_words(payload, 0, 1448)
        return rounds * 20

    figures["checksum of 1,448 bytes, one call"] = best_of(checksums)
    splitter = Splitter(1500)
    for version, segment_size in ((4, 1448), (6, 1428)):
        packet = super_packet(version, 4000, 44 * segment_size, segment_size)

        def split(packet: bytes = packet) -> int:
            packets = 0
            for _ in range(rounds):
                splitter.packet[: len(packet)] = packet
                packets += splitter.split(len(packet), 3)
                splitter.take()
            return packets

        figures[f"split TCP over IPv{version}, copy in and take included"] = best_of(split)

    packet = super_packet(4, 4000, 44 * 1448, 1448)
    splitter.keep_whole = True
    splitter.packet[: len(packet)] = packet
    splitter.split(len(packet), 3)
    whole = bytes(splitter.take())

    def keep() -> int:
        for _ in range(rounds):
            splitter.packet[: len(packet)] = packet
            splitter.split(len(packet), 3)
            splitter.take()
        return 44 * rounds

    figures["keep a super-packet whole, copy in and take included"] = best_of(keep)
    splitter.keep_whole = False
    segmenter = Segmenter()

    def cut() -> int:
        for _ in range(rounds):
            segmenter.segment_batch_untrusted(whole)
        return 44 * rounds

    figures["cut a super-packet in a frame"] = best_of(cut)
    reader = FrameReader(3, 2)
    reader.sequences = SEQUENCES_OFFLOAD

    def read() -> int:
        for _ in range(rounds):
            reader.receive_data_untrusted(whole)
        return 44 * rounds

    figures["find a super-packet in a stream"] = best_of(read)

    coalescer = Coalescer(1500, merge_tcp=True, merge_udp=True)

    def join(frames: bytes, packets: int) -> Callable[[], int]:
        def run() -> int:
            for _ in range(rounds):
                for unit in range(coalescer.coalesce_batch_untrusted(frames)):
                    coalescer.assemble(unit)
            return packets * rounds

        return run

    for flows in (1, 4):
        runs: list[bytes] = []
        for flow in range(flows):
            packet = super_packet(4, 4000 + flow, 44 // flows * 1448, 1448)
            splitter.packet[: len(packet)] = packet
            splitter.split(len(packet), 3)
            runs.append(bytes(splitter.take()))
        pieces = [run[at : at + 1508] for at in range(0, len(runs[0]), 1508) for run in runs]
        name = "one flow" if flows == 1 else f"{flows} flows interleaved"
        figures[f"coalesce, {name}"] = best_of(join(b"".join(pieces), len(pieces)))

    figures["pass a super-packet on to the TUN"] = best_of(join(whole, 44))
    acknowledgement = super_packet(4, 4000, 0, 0)[10:]
    frame = struct.pack("!HHI", 8 + len(acknowledgement), 2, 0) + acknowledgement
    figures["coalesce, lone 52-byte packets"] = best_of(join(frame * 64, 64))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(0.1)))
        return
    results: dict[str, dict[str, float]] = {}
    if not offload.__file__.endswith(".py"):
        results["compiled"] = measure(1.0)
    child = subprocess.run(
        [sys.executable, __file__, "--child"],
        env=os.environ | {"POLEVPN_TRIO_PURE": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    results["interpreted"] = json.loads(child.stdout)
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    for build, figures in results.items():
        print(f"{build}: microseconds per packet")
        for case, figure in figures.items():
            print(f"  {figure:10.3f}  {case}")


if __name__ == "__main__":
    main()
