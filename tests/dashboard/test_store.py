"""History in a SQLite file: it adds up, stays small, survives restarts and damage."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.dashboard.store import (
    AHEAD_SECONDS,
    IN_MEMORY,
    Damaged,
    HistoryStore,
    set_aside,
)
from polevpn_trio.dashboard.tiers import TIERS, Batch, Cell, beginning, point

NOW = 1_700_000_000.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "history.sqlite"


@pytest.fixture
def store(file: Path) -> Iterator[HistoryStore]:
    with closing(HistoryStore(file)) as store:
        yield store


def cell(amount: float = 1.0) -> Cell:
    return Cell(seconds=10.0, up_seconds=10.0, bytes_sent=amount, rtt_seconds=10, rtt_worst=amount)


def test_what_was_written_is_read_in_order(store: HistoryStore) -> None:
    store.write({(0, "b", 20): cell(2), (0, "b", 10): cell(1), (1, "b", 0): cell(3)})
    assert store.read("b", 0, 0) == [point(10, cell(1)), point(20, cell(2))]
    assert store.read("b", 0, 15) == [point(20, cell(2))]
    assert store.read("b", 1, 0) == [point(0, cell(3))]
    assert store.read("nobody", 0, 0) == []


PARTS = st.lists(
    st.dictionaries(
        st.tuples(st.integers(0, 2), st.sampled_from(["", "a", "b"]), st.integers(0, 3)),
        st.integers(0, 1 << 30).map(lambda amount: cell(float(amount))),
        max_size=5,
    ),
    max_size=6,
)


@given(PARTS)
def test_however_it_is_cut_into_batches_the_sum_is_the_same(batches: list[Batch]) -> None:
    model: Batch = {}
    with closing(HistoryStore(IN_MEMORY)) as store:
        for batch in batches:
            store.write(batch)
            for key, more in batch.items():
                model[key] = model[key].plus(more) if key in model else more
        for number in range(len(TIERS)):
            for name in ("", "a", "b"):
                wanted = sorted(t for n, site, t in model if (n, site) == (number, name))
                assert store.read(name, number, 0) == [
                    point(time, model[number, name, time]) for time in wanted
                ]


def test_a_restart_goes_on_in_the_same_cell(file: Path) -> None:
    for _ in range(2):
        with closing(HistoryStore(file)) as store:
            store.write({(0, "a", 10): cell(5)})
    with closing(HistoryStore(file)) as store:
        assert store.read("a", 0, 0) == [point(10, cell(5).plus(cell(5)))]
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_is_too_old_or_of_a_wrong_clock_is_forgotten(store: HistoryStore) -> None:
    batch: Batch = {}
    for number, tier in enumerate(TIERS):
        newest = beginning(tier, NOW)
        oldest = newest - (tier.kept - 1) * tier.seconds
        for time in (oldest - tier.seconds, oldest, newest, newest + 2 * AHEAD_SECONDS):
            batch[number, "a", time] = cell()
    batch[0, "gone", 0] = cell()
    store.write(batch)
    store.prune(NOW)
    for number, tier in enumerate(TIERS):
        newest = beginning(tier, NOW)
        times = [found.time for found in store.read("a", number, 0)]
        assert times == [newest - (tier.kept - 1) * tier.seconds, newest]
    assert store.read("gone", 0, 0) == []


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 12))
def test_the_number_of_cells_is_bounded(most: int, sites: int, times: int) -> None:
    start = beginning(TIERS[0], NOW)
    with closing(HistoryStore(IN_MEMORY, most_cells=most)) as store:
        store.write(
            {
                (0, f"s{site}", start - 10 * time): cell()
                for site in range(sites)
                for time in range(times)
            }
        )
        store.prune(NOW)
        left = [store.read(f"s{site}", 0, 0) for site in range(sites)]
    assert sum(map(len, left)) <= most
    if sites * times <= most:
        assert sum(map(len, left)) == sites * times
    elif most >= sites:
        # The newest are those that are kept.
        assert all(points[-1].time == start for points in left)


def test_a_batch_is_written_as_a_whole_or_not_at_all(store: HistoryStore) -> None:
    broken = Cell(bytes_sent=None)  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        store.write({(0, "a", 10): cell(), (1, "a", 0): broken})
    assert store.read("a", 0, 0) == []
    store.write({(0, "a", 10): cell()})
    assert len(store.read("a", 0, 0)) == 1


@pytest.mark.parametrize("content", [b"hello, this is no database at all" * 200, b"\0" * 8192])
def test_a_damaged_file_is_known_and_can_be_set_aside(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(Damaged):
        HistoryStore(file)
    aside = set_aside(file, 1700)
    assert aside.read_bytes() == content
    assert not file.exists()
    HistoryStore(file).close()


def test_a_file_of_another_schema_is_none_of_ours(file: Path) -> None:
    HistoryStore(file).close()
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(Damaged, match="number 99, expected 1"):
        HistoryStore(file)


def test_a_page_that_was_overwritten_is_found(file: Path) -> None:
    with closing(HistoryStore(file)) as store:
        store.write({(0, f"s{n}", time): cell() for n in range(20) for time in range(0, 900, 10)})
    damaged = bytearray(file.read_bytes())
    damaged[8192:12288] = b"\xff" * 4096
    file.write_bytes(damaged)
    with pytest.raises(Damaged):
        HistoryStore(file)


def test_two_programs_do_not_share_a_file(store: HistoryStore, file: Path) -> None:
    store.write({(0, "a", 10): cell()})
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        HistoryStore(file)
