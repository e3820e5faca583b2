"""The kernel's congestion control for TCP."""

from __future__ import annotations

from pathlib import Path

from polevpn_trio.doctor.congestion import judge_congestion, look_at_congestion
from polevpn_trio.doctor.finding import Finding, Status


def judged(folder: Path, used: str, available: str) -> Finding:
    (folder / "tcp_congestion_control").write_text(f"{used}\n")
    (folder / "tcp_available_congestion_control").write_text(f"{available}\n")
    return judge_congestion(look_at_congestion(folder))


def test_what_is_not_bbr_is_well_but_gets_advice(tmp_path: Path) -> None:
    found = judged(tmp_path, "cubic", "reno cubic")
    assert found.status is Status.OK
    assert found.remedy.startswith(
        "modprobe tcp_bbr; sysctl -w net.ipv4.tcp_congestion_control=bbr"
    )
    assert not judged(tmp_path, "cubic", "reno bbr cubic").remedy.startswith("modprobe")
    assert judged(tmp_path, "bbr", "reno bbr cubic").remedy == ""


def test_a_kernel_that_does_not_tell_is_no_alarm(tmp_path: Path) -> None:
    assert judge_congestion(look_at_congestion(tmp_path)).status is Status.SKIP


def test_this_machine_tells() -> None:
    assert look_at_congestion().used
