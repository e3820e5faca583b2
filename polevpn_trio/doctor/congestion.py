"""The kernel's congestion control for TCP, which carries tls:// and wss://."""

from __future__ import annotations

import socket

import attrs

from polevpn_trio.control.config import DEFAULT_CONGESTION
from polevpn_trio.doctor.finding import Finding, Status, ok, skip
from polevpn_trio.transport.tcp import choose_congestion_control, congestion_control


@attrs.frozen
class CongestionFacts:
    wanted: str
    """``tcp_congestion``; "" for the kernel's own default."""
    used: str
    """What connections have that ask for it; "" if that cannot be told."""
    granted: bool = True


def look_at_congestion(wanted: str) -> CongestionFacts:
    """Ask for it as the programs do, on a socket that goes nowhere."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            granted = not wanted or choose_congestion_control(probe, wanted)
            used = congestion_control(probe)
    except OSError:
        return CongestionFacts(wanted, "")
    return CongestionFacts(wanted, used, granted)


def judge_congestion(facts: CongestionFacts) -> Finding:
    """Never bad where nothing was asked for: without BBR it is only slower on some paths."""
    if not facts.used:
        return skip("tcp-congestion", "the kernel does not tell its congestion control")
    if facts.granted:
        return ok("tcp-congestion", f"TCP uses {facts.used}")
    remedy = (
        f"sysctl -w net.ipv4.tcp_congestion_control={facts.wanted} (and in /etc/sysctl.d to keep "
        "it), which loads it, and allows it to all users"
    )
    text = f"TCP uses {facts.used}, since this program cannot have {facts.wanted}"
    if facts.wanted == DEFAULT_CONGESTION:
        meaning = "with bbr, tls:// and wss:// are faster on paths that lose packets"
        return Finding("tcp-congestion", Status.OK, text, meaning, remedy)
    remedy += '; or correct "tcp_congestion"'
    return Finding("tcp-congestion", Status.WARN, text, "tcp_congestion has no effect", remedy)
