"""How much there may be in a second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.control.token_bucket import TokenBucket


def test_it_is_full_at_first_and_fills_up_to_the_burst() -> None:
    bucket = TokenBucket(2.0, 3.0, 10.0)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(10.5) for _ in range(2)] == [True, False]
    assert bucket.level(1000.0) == 3.0


def test_what_is_not_there_is_not_taken() -> None:
    bucket = TokenBucket(1.0, 5.0, 0.0)
    assert not bucket.take(0.0, 6.0)
    assert bucket.take(0.0, 5.0)


def test_debt_is_made_while_there_is_any_and_paid_back_first() -> None:
    bucket = TokenBucket(2.0, 4.0, 0.0)
    assert bucket.spend(0.0, 3.5)
    assert bucket.spend(0.0, 4.5)
    assert bucket.level(0.0) == -4.0
    assert not bucket.spend(1.0, 1.0)
    # Nothing owed is nothing left.
    assert bucket.level(2.0) == 0.0
    assert not bucket.spend(2.0, 1.0)
    assert bucket.spend(2.25, 1.0)
    assert bucket.level(2.25) == -0.5


@given(
    rate=st.floats(0.1, 1000),
    burst=st.floats(1, 1000),
    steps=st.lists(st.tuples(st.floats(0, 10), st.floats(0.1, 100)), max_size=50),
)
def test_never_more_than_the_burst_and_the_rate(
    rate: float, burst: float, steps: list[tuple[float, float]]
) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now = taken = 0.0
    for wait, amount in steps:
        now += wait
        if bucket.take(now, amount):
            taken += amount
        assert taken <= burst + rate * now + 1e-6 * (1 + taken)
