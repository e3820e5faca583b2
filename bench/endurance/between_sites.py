"""The load between two sites: two `load` programs, and what they have counted so far."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from bench.endurance.load import Count
from polevpn_trio.lab.namespaces import Process
from polevpn_trio.lab.overlay import Site, python_path

UDP_SHARE = 0.2
"""Of the rate; the rest is TCP."""

PING_INTERVAL = 0.5
"""Seconds."""

_START_TIMEOUT = 20.0


class LoadBetween:
    """Traffic both ways, of ``rate`` Mbit/s of payload altogether, until the lab ends."""

    def __init__(self, sites: Sequence[Site], rate: float) -> None:
        """Start it and wait for its first reports. Raises TimeoutError, ChildProcessError."""
        each = rate / 2
        self.processes: list[Process] = [
            site.lan_host.start(
                [
                    *(sys.executable, "-m", "bench.endurance.load", other.lan_host_address),
                    *("--tcp", str(each * (1 - UDP_SHARE)), "--udp", str(each * UDP_SHARE)),
                    *("--ping", str(PING_INTERVAL)),
                ],
                name="load",
                environment=python_path(),
            )
            for site, other in (sites, sites[::-1])
        ]
        for process in self.processes:
            process.wait_for_output("\n", _START_TIMEOUT)
        self._seen = [0, 0]
        self._last = [Count(), Count()]

    def reports(self) -> list[list[Count]]:
        """Give what each end has reported since the last time; its last one again if nothing."""
        return [self._reports_of(number) for number in range(len(self.processes))]

    def _reports_of(self, number: int) -> list[Count]:
        # What follows the last line feed is still being written.
        lines = self.processes[number].log().split("\n")[:-1]
        fresh = [Count(**json.loads(line)) for line in lines[self._seen[number] :]]
        self._seen[number] = len(lines)
        if fresh:
            self._last[number] = fresh[-1]
        return fresh or [self._last[number]]
