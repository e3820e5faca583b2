"""The changes we make to this machine's network; each one knows how to take itself back.

``netlink`` in the signatures is an open `pyroute2.IPRoute`. All methods block, for a netlink
round trip or a file of /proc at most, and belong in a worker thread. ``apply`` raises
`HostError`; ``revert`` raises `HostError` too, but takes it quietly when there is nothing
left to revert, because the interface is gone or somebody else has cleared up.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen
from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_NODAD

from polevpn_trio.tun.nat import add_masquerade, remove_masquerade
from polevpn_trio.tun.netlink import REFUSALS, ROUTE_PROTOCOL, error_number, host_error
from polevpn_trio.tun.routes import RTNH_F_ONLINK, Address, Network

SYSCTL_ROOT = Path("/proc/sys")

_ALREADY_GONE = frozenset(
    {
        errno.ENOENT,
        errno.ESRCH,
        errno.ENODEV,
        errno.ENXIO,
        errno.EADDRNOTAVAIL,
        errno.ENETDOWN,
    }
)


class Change(Protocol):
    """One thing done to this machine."""

    @property
    def text(self) -> str:
        """What is done, to follow "cannot"."""

    def apply(self, netlink: Any) -> None:
        """Do it."""

    def revert(self, netlink: Any) -> None:
        """Undo it, if it still is what we made of it."""


@frozen
class Link:
    """The state of the tunnel's interface itself. Sizes in bytes, queue in packets."""

    interface: str
    mtu: int
    tx_queue_length: int
    previous_mtu: int
    previous_tx_queue_length: int
    previously_up: bool

    @property
    def text(self) -> str:
        """What is done, to follow "cannot"."""
        return f"set {self.interface} up with mtu {self.mtu}"

    def apply(self, netlink: Any) -> None:
        """Set MTU and queue, then take the interface up."""
        with _refusals_told(self.text):
            netlink.link(
                "set",
                index=socket.if_nametoindex(self.interface),
                mtu=self.mtu,
                txqlen=self.tx_queue_length,
                state="up",
            )

    def revert(self, netlink: Any) -> None:
        """Restore MTU, queue and state."""
        with _refusals_told(f"restore {self.interface}", _ALREADY_GONE):
            netlink.link(
                "set",
                index=socket.if_nametoindex(self.interface),
                mtu=self.previous_mtu,
                txqlen=self.previous_tx_queue_length,
                state="up" if self.previously_up else "down",
            )


@frozen
class InterfaceAddress:
    """An address of the tunnel's interface."""

    interface: str
    address: IPv4Interface | IPv6Interface

    @property
    def text(self) -> str:
        """What is done, to follow "cannot"."""
        return f"add the address {self.address} to {self.interface}"

    def apply(self, netlink: Any) -> None:
        """Add the address."""
        with _refusals_told(self.text):
            self._request(netlink, "add")

    def revert(self, netlink: Any) -> None:
        """Remove the address."""
        with _refusals_told(f"remove {self.address} from {self.interface}", _ALREADY_GONE):
            self._request(netlink, "del")

    def _request(self, netlink: Any, command: str) -> None:
        # Nobody else is on this wire who could own a duplicate, and an IPv6 address that is
        # still being checked for one cannot be used: hence no duplicate address detection.
        flags = IFA_F_NODAD if self.address.version == 6 else 0
        netlink.addr(
            command,
            index=socket.if_nametoindex(self.interface),
            family=socket.AF_INET if self.address.version == 4 else socket.AF_INET6,
            address=str(self.address.ip),
            prefixlen=self.address.network.prefixlen,
            flags=flags,
        )


@frozen
class Route:
    """A route in the table ``main``, into the tunnel or pinned past it."""

    destination: Network
    interface: str
    gateway: Address | None = None
    onlink: bool = False
    source: Address | None = None

    @property
    def text(self) -> str:
        """What is done, to follow "cannot"."""
        via = f" via {self.gateway}" if self.gateway is not None else ""
        return f"add the route {self.destination}{via} dev {self.interface}"

    def apply(self, netlink: Any) -> None:
        """Add the route; an existing one is never replaced."""
        with _refusals_told(self.text):
            self._request(netlink, "add")

    def revert(self, netlink: Any) -> None:
        """Remove the route, if it is there and ours (by its protocol number)."""
        what = f"remove the route {self.destination} dev {self.interface}"
        with _refusals_told(what, _ALREADY_GONE):
            self._request(netlink, "del")

    def _request(self, netlink: Any, command: str) -> None:
        wanted: dict[str, Any] = {
            "family": socket.AF_INET if self.destination.version == 4 else socket.AF_INET6,
            "dst": str(self.destination),
            "oif": socket.if_nametoindex(self.interface),
            "proto": ROUTE_PROTOCOL,
        }
        if self.gateway is None:
            # A route to somebody on the link itself; the kernel compares this on deletion.
            wanted["scope"] = "link" if self.destination.version == 4 else "universe"
        elif self.gateway.version == self.destination.version:
            wanted["gateway"] = str(self.gateway)
        else:
            wanted["via"] = {"family": socket.AF_INET6, "addr": str(self.gateway)}
        if self.onlink:
            wanted["flags"] = RTNH_F_ONLINK
        if self.source is not None:
            wanted["prefsrc"] = str(self.source)
        netlink.route(command, **wanted)


@frozen
class Sysctl:
    """A kernel setting; ``key`` is its path below /proc/sys."""

    key: str
    before: int
    after: int

    @property
    def text(self) -> str:
        """What is done, to follow "cannot"."""
        return f"set {self.key} to {self.after}"

    def apply(self, netlink: Any) -> None:
        """Write the new value."""
        with _refusals_told(f"{self.text} (below {SYSCTL_ROOT})"):
            (SYSCTL_ROOT / self.key).write_text(f"{self.after}\n")

    def revert(self, netlink: Any) -> None:
        """Write the old value back, unless somebody has chosen another one meanwhile."""
        with _refusals_told(f"set {self.key} back to {self.before}", _ALREADY_GONE):
            if read_sysctl(self.key) == self.after:
                (SYSCTL_ROOT / self.key).write_text(f"{self.before}\n")


def read_sysctl(key: str) -> int | None:
    """Return the value of a kernel setting, None if there is no such setting (any more)."""
    try:
        return int((SYSCTL_ROOT / key).read_text())
    except (FileNotFoundError, ValueError):
        return None


@frozen
class Masquerade:
    """The nftables table that masquerades what comes out of the tunnel."""

    interface: str

    @property
    def text(self) -> str:
        """What is done, to follow "cannot"."""
        return f"masquerade packets from {self.interface}"

    def apply(self, netlink: Any) -> None:
        """Add the table."""
        add_masquerade(self.interface)

    def revert(self, netlink: Any) -> None:
        """Remove the table."""
        remove_masquerade(self.interface)


@contextmanager
def _refusals_told(action: str, expected: frozenset[int] = frozenset()) -> Iterator[None]:
    try:
        yield
    except REFUSALS as error:
        if error_number(error) not in expected:
            raise host_error(action, error) from error
