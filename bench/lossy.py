"""Long, lossy paths: what TCP, ping and speech get through a tunnel, and what it costs the wire.

Site A, a direct cable, the router, an emulated wide-area path, site B. On each path, each subject:
a transfer by CUBIC and one by BBR, ping at rest and beside the transfer, speech, and the packets
and bytes that the emulator counted for what was carried; then how a tunnel shares a bottleneck with
another tunnel and with plain TCP. Needs root (or user namespaces),
/dev/net/tun and iperf3.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.long_haul import measurements, sharing
from bench.long_haul.presentation import LongHaulPresentation
from bench.long_haul.subjects import REFERENCE, subjects
from bench.side_by_side.command import Benchmark, main

BENCHMARK = Benchmark(
    name="lossy",
    title="Long, lossy paths",
    description=__doc__,
    measures=(*measurements.MEASURES, *sharing.MEASURES),
    parts=(*measurements.PARTS, *sharing.PARTS),
    rounds=1,
    subjects=subjects,
    reference=REFERENCE,
    presentation=LongHaulPresentation(),
)


if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
