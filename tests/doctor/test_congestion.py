"""The kernel's congestion control for TCP."""

from __future__ import annotations

from polevpn_trio.doctor.congestion import CongestionFacts, judge_congestion, look_at_congestion
from polevpn_trio.doctor.finding import Status


def test_without_bbr_it_is_well_but_gets_advice() -> None:
    found = judge_congestion(CongestionFacts("bbr", "cubic", granted=False))
    assert found.status is Status.OK
    assert found.remedy.startswith("sysctl -w net.ipv4.tcp_congestion_control=bbr")
    assert judge_congestion(CongestionFacts("bbr", "bbr")).remedy == ""


def test_what_was_asked_for_and_is_not_to_be_had_is_told() -> None:
    # The kernel has Reno, and lets everybody have it.
    assert judge_congestion(look_at_congestion("reno")).text == "TCP uses reno"
    facts = look_at_congestion("bbrr")
    assert not facts.granted
    found = judge_congestion(facts)
    assert found.status is Status.WARN
    assert "cannot have bbrr" in found.text
    assert "tcp_congestion" in found.remedy


def test_the_kernels_own_default_is_well() -> None:
    found = judge_congestion(look_at_congestion(""))
    assert found.status is Status.OK
    assert not found.remedy


def test_a_kernel_that_does_not_tell_is_no_alarm() -> None:
    assert judge_congestion(CongestionFacts("bbr", "")).status is Status.SKIP
