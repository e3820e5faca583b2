"""The kernel's congestion control for TCP, which carries tls:// and wss://."""

from __future__ import annotations

from pathlib import Path

import attrs

from polevpn_trio.doctor.finding import Finding, Status, skip

_FOLDER = Path("/proc/sys/net/ipv4")
_BBR = "bbr"


@attrs.frozen
class CongestionFacts:
    used: str
    """By connections that ask for nothing else; "" if it cannot be read."""
    available: tuple[str, ...] = ()
    """Loaded already; more may be loaded as modules."""


def look_at_congestion(folder: Path = _FOLDER) -> CongestionFacts:
    try:
        return CongestionFacts(
            (folder / "tcp_congestion_control").read_text().strip(),
            tuple((folder / "tcp_available_congestion_control").read_text().split()),
        )
    except OSError:
        return CongestionFacts("")


def judge_congestion(facts: CongestionFacts) -> Finding:
    """Never bad: what is not BBR is only slower where packets are lost."""
    if not facts.used:
        return skip("tcp-congestion", "the kernel does not tell its congestion control")
    if facts.used.startswith(_BBR):
        return Finding("tcp-congestion", Status.OK, f"TCP uses {facts.used}")
    loading = "" if _BBR in facts.available else "modprobe tcp_bbr; "
    return Finding(
        "tcp-congestion",
        Status.OK,
        f"TCP uses {facts.used}",
        "with bbr, tls:// and wss:// are faster on paths that lose packets",
        f"{loading}sysctl -w net.ipv4.tcp_congestion_control=bbr (and in /etc/sysctl.d to keep it)",
    )
