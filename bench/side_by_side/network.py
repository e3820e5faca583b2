"""Three machines of a lab: a router in the middle, and a gateway at the end of either cable.

::

    first  198.18.1.2 ------ 198.18.1.1  router  198.18.2.1 ------ 198.18.2.2  second
           10.8.0.2                     (10.8.0.1)                             10.8.0.3

The cables are direct (veth pairs, MTU 1500), so that nothing but the programs costs time; only
where a benchmark asks for it, the second one leads through an emulated wide-area path. Inside the
tunnel every subject uses the same addresses; the router's own is for those that need one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import attrs

from polevpn_trio.lab import probes
from polevpn_trio.lab.namespaces import Host, Lab, Process, wait_until
from polevpn_trio.lab.wan.cable import Wan

HUB, FIRST, SECOND = "10.8.0.1", "10.8.0.2", "10.8.0.3"
"""Addresses inside the tunnel, all of `TUNNEL_NETWORK`."""

TUNNEL_NETWORK = "10.8.0.0/24"

START_TIMEOUT = 20.0
"""Seconds for the programs of a subject to start and to carry a first packet."""

PROBE_TIMEOUT = 0.2
"""Seconds to wait for one reply while the first packet is awaited."""

_CPUCLOCK_SCHED = 2
"""Kind of a process's clock that counts what the scheduler gave it; see linux/posix-timers.h."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class RunFailed(Exception):
    """A subject, or the traffic through it, did not do what was expected of it; one line.

    ``figures`` are those that could be had all the same.
    """

    def __init__(self, problem: str, figures: Mapping[str, float] | None = None) -> None:
        super().__init__(problem)
        self.figures = dict(figures or {})


class Network:
    """The machines and the cables between them, as yet without a program."""

    congestion = "cubic"
    """Congestion control of the TCP streams inside the tunnel: by default that of Linux, whatever
    the default of this machine is. Only iperf3 can be told."""

    def __init__(self, lab: Lab, *, long_haul: bool = False, seed: int = 0) -> None:
        """With ``long_haul`` there is a `wan`, as yet under perfect conditions."""
        self.router = lab.host("router")
        self.first = lab.host("first")
        self.second = lab.host("second")
        self._wan: Wan | None = None
        for number, gateway in enumerate(self.gateways, 1):
            if gateway is self.second and long_haul:
                self._wan = Wan.lay(self.router, f"site{number}", gateway, "wan", seed=seed)
            else:
                lab.connect(gateway, "wan", self.router, f"site{number}")
            self.router.add_addresses(f"site{number}", f"{self.hub_address(number)}/24")
            gateway.add_addresses("wan", f"198.18.{number}.2/24")

    @property
    def wan(self) -> Wan:
        """The emulated path, ``forward`` being from the router to the second gateway."""
        if self._wan is None:
            raise ValueError("both cables of this network are direct")
        return self._wan

    @property
    def gateways(self) -> tuple[Host, Host]:
        return self.first, self.second

    @property
    def members(self) -> tuple[tuple[Host, str], tuple[Host, str], tuple[Host, str]]:
        """Each machine with its address inside the tunnel, the router before the gateways."""
        return (self.router, HUB), (self.first, FIRST), (self.second, SECOND)

    @staticmethod
    def hub_address(number: int) -> str:
        """The router's outer address as gateway ``number`` (1 or 2) reaches it."""
        return f"198.18.{number}.1"


@attrs.frozen
class Programs:
    """The three processes of one subject, each in the namespace of its machine."""

    router: Process
    first: Process
    second: Process

    @property
    def all(self) -> tuple[Process, Process, Process]:
        return self.router, self.first, self.second


class Running(Protocol):
    """The processes of one subject, however many it needs."""

    @property
    def all(self) -> tuple[Process, ...]: ...


class Subject(Protocol):
    """Something that joins the two gateways through the router, and can be measured."""

    @property
    def name(self) -> str: ...

    @property
    def ours(self) -> bool: ...

    @property
    def description(self) -> str:
        """What exactly runs, in one line: version and the settings that matter."""
        ...

    def missing(self) -> str | None:
        """Say in one line why it cannot run here, or None."""
        ...

    def start(self, network: Network) -> Running:
        """Start its programs and configure what they don't configure themselves."""
        ...


@attrs.frozen
class Tunnel:
    """A subject that carries packets: what the measurements are made on."""

    network: Network
    subject: Subject
    programs: Running

    @classmethod
    def start(cls, lab: Lab, subject: Subject) -> Tunnel:
        """Build the network, start the subject and wait for its first packet.

        Raises RunFailed when a program ends by itself or no packet comes through in time.
        """
        return cls.over(Network(lab), subject)

    @classmethod
    def over(
        cls,
        network: Network,
        subject: Subject,
        *,
        timeout: float = START_TIMEOUT,
        reply_timeout: float = PROBE_TIMEOUT,
    ) -> Tunnel:
        """As `start`, over a network that is there already.

        ``reply_timeout`` is how long the reply to a ping may take, seconds.
        """
        tunnel = cls(network, subject, subject.start(network))

        def carries_packets() -> bool:
            tunnel.check()
            try:
                reply = network.first.call(probes.ping, SECOND, timeout=reply_timeout)
            except OSError:
                # The route into the tunnel is not there yet.
                return False
            return reply.received > 0

        try:
            wait_until(carries_packets, timeout, "a first packet through the hub")
        except TimeoutError as error:
            tails = (f"{each.name}: {each.log_tail(2)}" for each in tunnel.programs.all)
            raise RunFailed(f"{error} ({' | '.join(tails)})") from error
        return tunnel

    def check(self) -> None:
        """Raise RunFailed if a program has ended."""
        for each in self.programs.all:
            if each.returncode is not None:
                raise RunFailed(f"{each.name} on {each.host.name} ended: {each.log_tail(3)}")

    def cpu_seconds(self) -> tuple[float, ...]:
        """Processor time used so far by each program: router, first gateway, second gateway."""
        return tuple(cpu_seconds(each) for each in self.programs.all)


def cpu_seconds(process: Process) -> float:
    """Processor time of a program so far, its threads and the kernel's work for it included.

    To the nanosecond, where /proc counts hundredths of a second.
    """
    # What clock_getcpuclockid() of the C library computes: bits of the kernel's interface.
    return time.clock_gettime((~process.pid << 3) | _CPUCLOCK_SCHED)


def memory_mib(process: Process) -> float:
    """Resident memory of a program."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * _PAGE / 2**20
