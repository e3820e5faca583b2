"""What repair coding costs: arithmetic, repairs made, repairs used.

Run ``python bench/fec.py [--json] [--rounds N]``. Three tables:

* multiply-and-add over a buffer in GF(2^8), with each set of instructions that there is;
* microseconds per repair symbol of full datagrams at windows of 32, 64 and 128: made by the
  encoder, and used by the decoder when one, or a tenth, of the window is missing, also apart
  from what the sources cost;
* microseconds per source datagram on a clean link.

``--residue`` instead runs the code over a lossy channel in virtual time, at several ratios of
repair: what remains lost, how much later a recovered datagram comes, and what it cost.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from array import array
from collections.abc import Callable, Iterator

import attrs

from polevpn_trio import kernels
from polevpn_trio.fec.decoder import RepairDecoder
from polevpn_trio.fec.encoder import RepairEncoder
from polevpn_trio.fec.gf256 import add_scaled, instructions
from polevpn_trio.fec.plan import CLEAN, RepairPlan
from polevpn_trio.fec.symbols import SOURCE

SIZE = 1350
PAYLOAD = bytes(SIZE - 4)
WINDOWS = (32, 64, 128)


@attrs.frozen
class Arithmetic:
    """Speed of ``target += factor * source`` in megabytes of it per second, call included."""

    instructions: str
    size: int
    megabytes: int


@attrs.frozen
class Repairs:
    """Microseconds per repair symbol of 1,350-byte datagrams, and per source on the way."""

    window: int
    missing: int
    encode: float
    decode: float


@attrs.frozen
class Residue:
    """What a simulated link of 5,000 full datagrams a second is left with, in per cent.

    ``recovery`` is how much later than its source a recovered datagram comes, median and 99th
    percentile, in milliseconds.
    """

    channel: str
    loss: float
    ratio: float
    overhead: float
    residue: float
    recovery: tuple[float, float]


def make_sources(first: int, count: int) -> bytearray:
    """Make full datagrams with these numbers, back to back."""
    return bytearray(
        b"".join(
            bytes([SOURCE]) + (number & 0xFFFFFF).to_bytes(3, "big") + PAYLOAD
            for number in range(first, first + count)
        )
    )


def best_of(action: Callable[[], object], times: int, rounds: int = 5) -> float:
    """Give the processor seconds of one call, of the quickest round."""
    best = float("inf")
    for _ in range(rounds):
        began = time.thread_time()
        for _ in range(times):
            action()
        best = min(best, (time.thread_time() - began) / times)
    return best


def measure_arithmetic(rounds: int) -> list[Arithmetic]:
    results = []
    seen = set()
    for level in (-1, 1, 0):
        name = instructions(level)
        if name in seen:
            continue
        seen.add(name)
        for size in (SIZE, 16_384):
            source, target = random.Random(1).randbytes(size), bytearray(size)
            seconds = best_of(lambda s=source, t=target: add_scaled(t, s, 77), rounds)  # type: ignore[misc] # bound now
            results.append(Arithmetic(name, size, round(size / seconds / 1e6)))
    instructions()
    return results


def measure_repairs(window: int, missing: int, rounds: int) -> Repairs:
    """Make repairs over a full window, and use as many as are missing."""
    chance = random.Random(window)
    sizes = array("H", [SIZE] * window)
    encoder, decoder = RepairEncoder(window=window, share=4), RepairDecoder()
    encoder.set_plan(RepairPlan(ratio=0, tail=missing, important=0))
    encoding = decoding = 0.0
    for number in range(rounds + 2):
        batch = make_sources(number * window, window)
        encoder.protect_batch(batch, sizes, window, float(number), bytes(window))
        # The first round only shows the decoder that there are repairs.
        lost = set(chance.sample(range(window), missing if number else 0))
        kept, lengths = bytearray(), array("H")
        for index in range(window):
            if index not in lost:
                kept += batch[index * SIZE : index * SIZE + SIZE]
                lengths.append(SIZE)
        began = time.thread_time()
        repairs = encoder.poll_repairs(encoder.next_timeout())
        made = time.thread_time()
        decoder.receive_batch_untrusted(kept, lengths, len(lengths), float(number))
        received = time.thread_time()
        got = decoder.receive_batch_untrusted(
            encoder.datagrams, encoder.sizes, repairs, float(number)
        )
        used = time.thread_time()
        # Random equations are dependent now and then: one time in 255.
        if got != len(lost) and not decoder.statistics().dependent:
            raise RuntimeError(f"{got} of {missing} recovered")
        # The first rounds take memory.
        if number > 1:
            encoding += made - began
            decoding += used - received
    total = rounds * missing
    return Repairs(
        window, missing, round(encoding / total * 1e6, 2), round(decoding / total * 1e6, 2)
    )


def measure_sources(rounds: int) -> tuple[float, float]:
    """Give the microseconds per source datagram on a clean link, at either end."""
    encoder, decoder = RepairEncoder(), RepairDecoder()
    encoder.set_plan(CLEAN)
    batch = make_sources(0, 46)
    sizes = array("H", [SIZE] * 46)
    marks = bytes(46)
    sending = receiving = 0.0
    for number in range(rounds):
        began = time.thread_time()
        encoder.protect_batch(batch, sizes, 46, number / 1000, marks)
        between = time.thread_time()
        decoder.receive_batch_untrusted(batch, sizes, 46, number / 1000)
        sending += between - began
        receiving += time.thread_time() - between
    return round(sending / rounds / 46 * 1e6, 3), round(receiving / rounds / 46 * 1e6, 3)


# --- What remains lost -------------------------------------------------------------------


def losses(chance: random.Random, loss: float, burst: float) -> Iterator[bool]:
    """Lose independently (burst 1), or in bursts of this mean length (Gilbert's channel)."""
    bad = False
    while True:
        if burst <= 1:
            bad = chance.random() < loss
        elif bad:
            bad = chance.random() >= 1 / burst
        else:
            bad = chance.random() < loss / (1 - loss) / burst
        yield bad


def measure_residue(burst: float, loss: float, ratio: float, datagrams: int) -> Residue:
    """Run 5,000 datagrams a second, in batches of ten, over a lossy channel."""
    encoder, decoder = RepairEncoder(share=4), RepairDecoder()
    encoder.set_plan(RepairPlan(ratio=ratio, tail=0, important=0))
    channel = losses(random.Random(7), loss, burst)
    sizes = array("H", [SIZE] * 10)
    lost = 0
    late = []
    for first in range(0, datagrams, 10):
        now = first / 5000
        batch = make_sources(first, 10)
        count = encoder.protect_batch(batch, sizes, 10, now, bytes(10))
        kept, lengths, at = bytearray(), array("H"), 0
        batch += encoder.datagrams
        for index, size in enumerate([*sizes, *encoder.sizes[:count]]):
            if not next(channel):
                kept += batch[at : at + size]
                lengths.append(size)
            elif index < 10:
                lost += 1
            at += size
        count = decoder.receive_batch_untrusted(kept, lengths, len(lengths), now)
        for index in range(count):
            at = index * SIZE + 1
            number = int.from_bytes(decoder.datagrams[at : at + 3], "big")
            late.append(now - number // 10 * 10 / 5000)
    seen = encoder.statistics()
    recovered = len(late)
    late = sorted(late) or [0.0]
    return Residue(
        channel="random" if burst <= 1 else f"bursts of {burst:g}",
        loss=round(100 * lost / datagrams, 2),
        ratio=ratio,
        overhead=round(100 * seen.overhead, 1),
        residue=round(100 * (lost - recovered) / datagrams, 3),
        recovery=(
            round(1000 * late[len(late) // 2], 1),
            round(1000 * late[len(late) * 99 // 100], 1),
        ),
    )


RESIDUES = tuple(
    (burst, loss, ratio)
    for burst in (1, 4)
    for loss, ratios in (
        (0.01, (0.02, 0.03, 0.05)),
        (0.02, (0.03, 0.05, 0.1)),
        (0.05, (0.06, 0.1, 0.15)),
        (0.1, (0.12, 0.18, 0.25)),
        (0.2, (0.25, 0.35, 0.5)),
        (0.4, (0.25, 0.8, 1.0)),
    )
    for ratio in ratios
)


def print_residues(results: list[Residue]) -> None:
    print("channel        lost   repair   remains   recovered after, ms: p50   p99")
    for each in results:
        print(
            f"{each.channel:12s} {each.loss:5.2f}%   {each.overhead:5.1f}%   {each.residue:6.3f}%"
            f"   {each.recovery[0]:24.1f} {each.recovery[1]:5.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, help="repetitions of each measurement")
    parser.add_argument("--residue", action="store_true", help="simulate losses instead")
    options = parser.parse_args()
    compiled = kernels.compiled()["polevpn_trio.fec.encoder"]
    if options.residue:
        datagrams = options.rounds or (50_000 if compiled else 2_000)
        residues = [measure_residue(*each, datagrams) for each in RESIDUES]
        if options.json:
            print(json.dumps({"results": [attrs.asdict(each) for each in residues]}))
        else:
            print_residues(residues)
        return
    rounds = options.rounds or (2_000 if compiled else 20)
    arithmetic = measure_arithmetic(rounds)
    repairs = [
        measure_repairs(window, missing, max(1, rounds // 20))
        for window in WINDOWS
        for missing in (1, window // 10)
    ]
    sending, receiving = measure_sources(rounds)
    if options.json:
        print(
            json.dumps(
                {
                    "compiled": compiled,
                    "arithmetic": [attrs.asdict(each) for each in arithmetic],
                    "repairs": [attrs.asdict(each) for each in repairs],
                    "clean": {"send": sending, "receive": receiving},
                }
            )
        )
        return
    print(f"repair coding, {'compiled' if compiled else 'not compiled'}")
    for speed in arithmetic:
        print(f"  {speed.instructions:12s} {speed.size:6d} bytes: {speed.megabytes:6d} MB/s")
    print("  window   missing   us per repair made   used")
    for each in repairs:
        print(f"  {each.window:6d}  {each.missing:8d}  {each.encode:19.2f}  {each.decode:5.2f}")
    print(f"  clean link: {sending:.3f} us per datagram sent, {receiving:.3f} received")


if __name__ == "__main__":
    main()
