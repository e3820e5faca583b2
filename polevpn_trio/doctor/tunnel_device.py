"""The TUN device: whether there is one to be had, and whether it takes super-packets."""

from __future__ import annotations

import errno
from pathlib import Path

import attrs

from polevpn_trio.doctor.finding import Finding, fail, ok, warn
from polevpn_trio.doctor.surroundings import KUBERNETES, STARTED_WITH_OPTIONS
from polevpn_trio.errors import HostError
from polevpn_trio.tun.device import TunDevice

NET_BIND_SERVICE, NET_ADMIN = 10, 12
"""Numbers of capabilities (linux/capability.h)."""

_PROBE_MTU = 1500
_NO_DRIVER = (errno.ENOENT, errno.ENODEV, errno.ENXIO)
_NOT_PERMITTED = (errno.EPERM, errno.EACCES)


@attrs.frozen
class TunFacts:
    """What came of making a TUN device, and of asking for offloads."""

    error: int = 0
    """The errno; 0 if there was a device."""
    reason: str = ""
    super_packets: bool = False
    """TSO: TCP passes in packets of up to 64 KiB."""
    udp_super_packets: bool = False
    """USO: UDP, too (Linux 6.2)."""


@attrs.frozen
class Rights:
    """What the kernel lets this process do."""

    uid: int
    capabilities: int
    """Bits of the effective set."""

    def has(self, capability: int) -> bool:
        return bool(self.capabilities >> capability & 1)


def look_at_tun() -> TunFacts:
    """Make a TUN device under a name of the kernel's choice, and take it away again."""
    try:
        with TunDevice.open(None, _PROBE_MTU) as device:
            return TunFacts(0, "", device.offload, device.udp_offload)
    except HostError as error:
        cause = error.__cause__
        number = cause.errno if isinstance(cause, OSError) else None
        return TunFacts(number or errno.EIO, str(error))


def look_at_rights() -> Rights:
    """Read the effective user and capabilities of this process."""
    uid, capabilities = 0, 0
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "Uid":
            uid = int(value.split()[1])
        elif name == "CapEff":
            capabilities = int(value, 16)
    return Rights(uid, capabilities)


def judge_tun(facts: TunFacts, rights: Rights, *, container: str) -> Finding:
    """``container`` is the kind of container this is, "" for none."""
    if not facts.error:
        return ok("tun", "a TUN device can be made")
    meaning = "no gateway, and no router with a site, can run here"
    if container == KUBERNETES:
        remedy = (
            "in the securityContext of the container: capabilities: add: [NET_ADMIN]; and the "
            "device /dev/net/tun by a hostPath volume"
        )
        return fail("tun", facts.reason, meaning, remedy)
    by_options = container in STARTED_WITH_OPTIONS
    if facts.error in _NO_DRIVER:
        remedy = (
            "docker or podman run --device /dev/net/tun --cap-add NET_ADMIN ..."
            if by_options
            else "modprobe tun; mkdir -p /dev/net; mknod /dev/net/tun c 10 200"
        )
    elif facts.error in _NOT_PERMITTED and not rights.has(NET_ADMIN):
        remedy = (
            "docker or podman run --cap-add NET_ADMIN --device /dev/net/tun ..."
            if by_options
            else "run it with sudo, or as a systemd service with AmbientCapabilities=CAP_NET_ADMIN"
        )
    elif facts.error in _NOT_PERMITTED:
        remedy = (
            "docker or podman run --device /dev/net/tun ..."
            if by_options
            else "chmod 666 /dev/net/tun; in a systemd service also DeviceAllow=/dev/net/tun rw"
        )
    else:
        remedy = "see the kernel's log: dmesg | tail"
    return fail("tun", facts.reason, meaning, remedy)


def judge_offload(facts: TunFacts) -> Finding | None:
    """None if there was no device to ask."""
    if facts.error:
        return None
    if not facts.super_packets:
        return warn(
            "tun-offload",
            "the TUN device takes no super-packets (no TSO)",
            "each packet is read and written by itself: several times slower",
            "use a kernel with TUN offloads (Linux 4.8 or later; gVisor has none)",
        )
    if not facts.udp_super_packets:
        return ok("tun-offload", "super-packets of TCP pass (TSO); those of UDP need Linux 6.2")
    return ok("tun-offload", "super-packets of TCP and UDP pass (TSO, USO)")


def judge_rights(rights: Rights, *, has_site: bool) -> Finding:
    """``has_site`` tells whether addresses and routes are to be set."""
    who = "root" if rights.uid == 0 else f"user {rights.uid}"
    if rights.has(NET_ADMIN):
        excess = "" if has_site or rights.uid else "; a router without a site needs less"
        return ok("rights", f"{who} with CAP_NET_ADMIN{excess}")
    if not has_site:
        return ok("rights", f"{who} without CAP_NET_ADMIN, which nothing here needs")
    return fail(
        "rights",
        f"{who} without CAP_NET_ADMIN",
        "addresses and routes cannot be set, the tunnel cannot come up",
        "run it with sudo, or with CAP_NET_ADMIN: AmbientCapabilities=CAP_NET_ADMIN in a systemd "
        "unit, --cap-add NET_ADMIN for a container",
    )
