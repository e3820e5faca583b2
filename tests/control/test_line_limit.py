"""How many lines strangers may write."""

from __future__ import annotations

from polevpn_trio.control.line_limit import LineLimit


def test_a_burst_passes_and_then_one_an_interval() -> None:
    limit = LineLimit(3, 10.0)
    assert [limit.take(1000.0) for _ in range(5)] == [0, 0, 0, None, None]
    assert limit.take(1009.0) is None
    assert limit.take(1010.0) == 3
    assert limit.take(1010.5) is None
    assert limit.take(1020.0) == 1


def test_calm_refills_the_burst_and_no_more() -> None:
    limit = LineLimit(2, 1.0)
    assert [limit.take(5.0) for _ in range(3)] == [0, 0, None]
    assert [limit.take(500.0) for _ in range(3)] == [1, 0, None]
