"""Several tunnels and plain hosts on one path each way, in virtual time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import attrs

from polevpn_trio.kcp.congestion.bbr import Bbr
from polevpn_trio.kcp.datagram.conversation import OVERHEAD
from polevpn_trio.lab.wan.conditions import Conditions
from polevpn_trio.lab.wan.path import Path
from tests.kcp.datagram.tunnel import COALESCE, FRAMING, MTU, End, World


class Port:
    """One sender's part in a path that it shares; used as a `Path` is."""

    def __init__(self, path: Path, ports: list[Port]) -> None:
        self._path = path
        self._ports = ports
        # In front of each packet, to tell whose it is.
        self._mark = bytes([len(ports)])
        self._arrived: list[bytes] = []
        ports.append(self)

    def receive_packets(self, packets: list[bytes], now: float) -> None:
        self._path.receive_packets([self._mark + packet for packet in packets], now)

    def poll_timeout(self) -> float:
        """Tell when something arrives next, be it somebody else's."""
        return self._path.poll_timeout()

    def poll_packets(self, now: float) -> list[bytes]:
        for packet in self._path.poll_packets(now):
            self._ports[packet[0]]._arrived.append(packet[1:])
        arrived, self._arrived = self._arrived, []
        return arrived


class Host:
    """Sends IP packets as they are."""

    def __init__(self, world: World, path: Port) -> None:
        self.on_packet: Callable[[bytes], None] = lambda packet: None
        self.peer: Host
        self.path = path
        self._world = world
        self._inbox_at = math.inf

    def send(self, *packets: bytes) -> None:
        self.path.receive_packets(list(packets), self._world.now)
        self.peer.expect()

    def expect(self) -> None:
        """Look for what the path brings at the time it says."""
        due = self.peer.path.poll_timeout() + COALESCE
        if due < self._inbox_at:
            self._inbox_at = due
            self._world.at(due, self._take_arrived)

    def _take_arrived(self) -> None:
        if self._world.now >= self._inbox_at:
            self._inbox_at = math.inf
            for packet in self.peer.path.poll_packets(self._world.now):
                self.on_packet(packet)
            self.expect()


class SharedWorld(World):
    """A world whose path is shared by the tunnel between ``near`` and ``far`` with others."""

    def __init__(self, seed: int, conditions: Conditions) -> None:
        super().__init__(seed, conditions, conditions)
        # A mark is part of what the others need no room for.
        marked = attrs.evolve(conditions, framing=FRAMING - 1)
        self.forth, self.back = (
            Path(marked, random.Random(self.chance.getrandbits(32)), self.now) for _ in range(2)
        )
        self._ports: tuple[list[Port], list[Port]] = ([], [])
        self._join(self.near, self.far)

    def add_tunnel(self) -> End:
        """Add another tunnel; return its near end."""
        near, far = (
            End(self, Bbr(MTU + OVERHEAD, random.Random(self.chance.getrandbits(32))))
            for _ in range(2)
        )
        self._join(near, far)
        return near

    def _join(self, near: End, far: End) -> None:
        near.peer, far.peer = far, near
        near.path, far.path = self._add_ports()  # type: ignore[assignment] # used as a path is

    def add_host(self) -> Host:
        """Add a plain host and its peer; return the near one."""
        near, far = (Host(self, port) for port in self._add_ports())
        near.peer, far.peer = far, near
        return near

    def _add_ports(self) -> tuple[Port, Port]:
        forth, back = self._ports
        return Port(self.forth, forth), Port(self.back, back)
