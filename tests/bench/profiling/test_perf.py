"""Reading what perf counted, and why it may not count."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.profiling import perf


def test_counts_are_read_by_the_name_of_the_call() -> None:
    text = (
        "# started on Mon Nov 23 10:00:00 2026\n"
        "\n"
        "1250;;raw_syscalls:sys_enter;4012345;100.00;;\n"
        "700;;syscalls:sys_enter_recvmsg;4012345;100.00;;\n"
        "<not counted>;;syscalls:sys_enter_futex;0;100.00;;\n"
    )
    assert perf.parse_counts(text) == {"": 1250, "recvmsg": 700, "futex": 0}


def test_a_count_that_the_kernel_cannot_make_is_not_taken_for_none() -> None:
    with pytest.raises(ValueError, match="not supported"):
        perf.parse_counts("<not supported>;;raw_syscalls:sys_enter;0;100.00;;\n")


def test_it_says_in_one_line_that_there_is_no_perf(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = perf.unavailable_reason()
    assert reason is not None
    assert "not installed" in reason
    assert "\n" not in reason


def test_it_says_in_one_line_what_perf_says_when_it_may_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refusing = tmp_path / "perf"
    refusing.write_text("#!/bin/sh\necho >&2\necho 'No permission to count.' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = perf.unavailable_reason()
    assert reason is not None
    assert "No permission to count." in reason
    assert "\n" not in reason
