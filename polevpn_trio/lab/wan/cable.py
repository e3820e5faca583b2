"""A long cable for the lab: connects two hosts through an emulator, and reads its counters.

::

    with Lab() as lab:
        router, site = lab.host("router"), lab.host("site")
        wan = Wan.lay(lab, router, "site", site, "wan")
        router.add_addresses("site", "198.18.2.1/24")
        site.add_addresses("wan", "198.18.2.2/24")
        wan.change(Conditions(rate=100e6, delay=0.025, loss=0.02), Conditions(delay=0.025))
        ...
        print(wan.statistics().forward.lost)

The ends are TUN devices, thus without Ethernet addresses and ARP: what is lost or late on the way
are IP packets, as on a path of many hops.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

import attrs
import pytun

from polevpn_trio.lab.namespaces import Host, Process
from polevpn_trio.lab.overlay import python_path
from polevpn_trio.lab.wan.conditions import Conditions
from polevpn_trio.lab.wan.emulator import LARGEST_REQUEST
from polevpn_trio.lab.wan.path import PathStatistics

ANSWER_TIMEOUT = 10.0
"""Seconds for the emulator to answer; its start takes a few tenths."""

DEVICE_QUEUE = 10_000
"""Packets that wait in a device until the emulator reads them: its own queue is to be the only
one that ever fills."""


@attrs.frozen
class DirectionStatistics:
    """Counts of one direction since the cable was laid."""

    path: PathStatistics
    missed: int
    """Packets that the sending host lost because the emulator was late to read them."""
    refused: int
    """Packets that the receiving host's kernel did not take."""


@attrs.frozen
class WanStatistics:
    """Counts of both directions, and how the emulator itself fares."""

    forward: DirectionStatistics
    backward: DirectionStatistics
    realtime: bool
    """Whether the emulator runs before ordinary programs; without, expect it to be late."""
    processor_seconds: float
    """Processor time of the emulator so far, the kernel's work for it included."""


class Wan:
    """A cable with two ends, ``forward`` being the direction from the first to the second."""

    def __init__(self, process: Process, ends: tuple[tuple[Host, str], tuple[Host, str]]) -> None:
        self.process = process
        self._ends = ends

    @classmethod
    def lay(
        cls,
        one: Host,
        one_interface: str,
        other: Host,
        other_interface: str,
        *,
        seed: int = 0,
        mtu: int = 1500,
    ) -> Wan:
        """Connect two hosts, as yet under perfect conditions; the interfaces are up.

        It ends with the first host. ``seed`` decides, for each direction, which packets are
        lost. Raises OSError where the kernel has no TUN devices.
        """
        ends = (one, one_interface), (other, other_interface)
        inherited = [host.call(_make_device, interface) for host, interface in ends]
        inherited.append(one.call(_make_control, _control_name(one_interface)))
        try:
            for host, interface in ends:
                host.set_link(interface, mtu=mtu, queue=DEVICE_QUEUE, up=True)
            descriptors = [each.fileno() for each in inherited]
            process = one.start(
                [
                    *(sys.executable, "-m", "polevpn_trio.lab.wan.emulator"),
                    *(str(number) for number in (*descriptors, seed)),
                ],
                name="wan",
                environment=python_path(),
                descriptors=descriptors,
            )
        finally:
            for each in inherited:
                each.close()
        wan = cls(process, ends)
        wan._request({"do": "statistics"})
        return wan

    def change(self, forward: Conditions, backward: Conditions) -> None:
        """Go on under other conditions; outages and steps of the rate count from now."""
        conditions = [forward.as_json(), backward.as_json()]
        self._request({"do": "change", "conditions": conditions})

    def restart(self) -> None:
        """Let outages and steps of the rate count from now."""
        self._request({"do": "restart"})

    def statistics(self) -> WanStatistics:
        answer = self._request({"do": "statistics"})
        forward, backward = (
            _direction(counts, host.counters(interface)["tx_dropped"])
            for counts, (host, interface) in zip(answer["directions"], self._ends, strict=True)
        )
        return WanStatistics(forward, backward, answer["realtime"], answer["processor_seconds"])

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the emulator. Raises ChildProcessError if it has ended, else TimeoutError."""
        host, interface = self._ends[0]
        text = json.dumps(request).encode()
        try:
            answer = host.call(_exchange, _control_name(interface), text)
        except ConnectionError:
            raise ChildProcessError(f"the emulator ended: {self.process.log_tail(3)}") from None
        members: dict[str, Any] = json.loads(answer)
        return members


def _make_device(name: str) -> Any:
    device = pytun.TunTapDevice(name=name, flags=pytun.IFF_TUN | pytun.IFF_NO_PI)
    os.set_blocking(device.fileno(), False)
    return device


def _control_name(interface: str) -> str:
    # Abstract names belong to a network namespace, so they need be unlike in one host only.
    return f"\0wan-{interface}"


def _make_control(name: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(name)
    return sock


def _exchange(name: str, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        # An empty address lets the kernel choose a name, to which the answer can be sent.
        sock.bind("")
        sock.settimeout(ANSWER_TIMEOUT)
        sock.connect(name)
        sock.send(request)
        return sock.recv(LARGEST_REQUEST)


def _direction(counts: dict[str, Any], missed: int) -> DirectionStatistics:
    refused = counts.pop("refused")
    path = PathStatistics(**{**counts, "late": tuple(counts["late"])})
    return DirectionStatistics(path, missed, refused)
