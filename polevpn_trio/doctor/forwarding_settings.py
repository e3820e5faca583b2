"""The kernel's settings for packets that are passed on: ip_forward and rp_filter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import attrs

from polevpn_trio.control.config import Network, SiteConfig
from polevpn_trio.doctor.finding import Finding, fail, ok, warn
from polevpn_trio.doctor.surroundings import KUBERNETES, STARTED_WITH_OPTIONS

SYSCTLS = Path("/proc/sys")
_STRICT = 1
"""rp_filter (RFC 3704): a packet must come from where its source is routed to."""

_KEYS = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


@attrs.frozen
class ForwardingFacts:
    """Values are None where the kernel has no such setting."""

    ipv4: bool | None
    ipv6: bool | None
    strict_source: bool
    """A new interface would get the strict rp_filter."""
    writable: bool
    """This process can change these settings."""


def look_at_forwarding(root: Path = SYSCTLS) -> ForwardingFacts:
    """Read the settings below ``root``; changes nothing."""
    forward = root / "net/ipv4/ip_forward"
    # The kernel uses the larger one of "all" and the interface's own, which begins as "default".
    filters = [_number(root / f"net/ipv4/conf/{name}/rp_filter") for name in ("all", "default")]
    return ForwardingFacts(
        ipv4=_flag(forward),
        ipv6=_flag(root / "net/ipv6/conf/all/forwarding"),
        strict_source=max(value or 0 for value in filters) == _STRICT,
        writable=_opens_for_writing(forward),
    )


def judge_forwarding(facts: ForwardingFacts, site: SiteConfig, *, container: str) -> list[Finding]:
    """What ``site`` needs, for each version of IP that it has networks of."""
    return [
        _judge_version(version, value, facts.writable, site, container)
        for version, value in ((4, facts.ipv4), (6, facts.ipv6))
        if any(network.version == version for network in _passed_on(site))
    ]


def _judge_version(
    version: int, value: bool | None, writable: bool, site: SiteConfig, container: str
) -> Finding:
    check, key = "forwarding", _KEYS[version]
    if value:
        return ok(check, f"{key} is on")
    if value is None:
        return fail(
            check,
            f"the kernel has no {key}",
            f"no IPv{version} packet can pass between the tunnel and the LAN",
            "mount /proc in the container"
            if version == 4
            else "boot without ipv6.disable=1, or leave the IPv6 networks out",
        )
    switched_on = f"sysctl -w {key}=1 (and in /etc/sysctl.d to keep it)"
    if container in STARTED_WITH_OPTIONS:
        switched_on = f"docker or podman run --sysctl {key}=1 ..."
    elif container == KUBERNETES:
        switched_on = f"sysctls in the securityContext of the pod: {key}=1"
    if not site.forward:
        return warn(
            check,
            f'{key} is off, and "forward" is not set',
            "hosts of local_networks can neither be reached through the tunnel nor use it: only "
            "this machine itself can",
            f'"forward": true in the configuration, or: {switched_on}',
        )
    if writable:
        return ok(check, f'{key} is off; the program switches it on ("forward")')
    return fail(
        check,
        f'"forward" is set, but {key} is off and cannot be changed by this process',
        "the program will end with this error",
        switched_on,
    )


def judge_source_filter(facts: ForwardingFacts) -> Finding:
    if not facts.strict_source:
        return ok("rp-filter", "new interfaces do not get the strict source filter")
    if facts.writable:
        return ok("rp-filter", "strict by default; the program makes its own interface's loose")
    return fail(
        "rp-filter",
        "new interfaces get the strict source filter, and this process cannot change it",
        "packets of other sites whose networks are not routed into the tunnel are dropped silently",
        "sysctl -w net.ipv4.conf.all.rp_filter=2 (and in /etc/sysctl.d to keep it)",
    )


def _passed_on(site: SiteConfig) -> Iterator[Network]:
    own = {site.gateway, site.gateway6}
    for network in site.local_networks:
        if network.num_addresses > 1 or network.network_address not in own:
            yield network


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _flag(file: Path) -> bool | None:
    number = _number(file)
    return None if number is None else number != 0


def _opens_for_writing(file: Path) -> bool:
    # Opening alone changes nothing, and is the only question that the kernel answers truly: it
    # looks at capabilities, at read-only mounts, and at security modules.
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
