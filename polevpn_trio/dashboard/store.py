"""Keeps the history in a SQLite file of bounded size. Blocks: called in a thread.

A file that is damaged, or of another kind, is set aside under another name, and history begins
anew: it is worth keeping, but not worth a router that does not start.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from polevpn_trio.dashboard.tiers import COLUMNS, MOST_CELLS, TIERS, Batch, Cell, Point, point
from polevpn_trio.dashboard.tiers import beginning as beginning_of

SCHEMA = 1
"""Number of the schema, in the file's user_version."""

AHEAD_SECONDS = 86_400
"""Cells further in the future are of a clock that was wrong."""

IN_MEMORY = ":memory:"

_VALUES = ", ".join(f"{name} REAL NOT NULL" for name in COLUMNS)
_CREATE = (
    "CREATE TABLE sites (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    *(
        f"CREATE TABLE tier{number} (site INTEGER NOT NULL, time INTEGER NOT NULL, {_VALUES}, "
        "PRIMARY KEY (site, time)) WITHOUT ROWID"
        for number in range(len(TIERS))
    ),
    # Finds what is to be forgotten without a look at all the rest.
    *(f"CREATE INDEX tier{number}_time ON tier{number} (time)" for number in range(len(TIERS))),
)
_MERGED = ", ".join(
    f"{name} = max({name}, excluded.{name})"
    if name == "rtt_worst"
    else f"{name} = {name} + excluded.{name}"
    for name in COLUMNS
)


class Damaged(Exception):
    """The file holds no history that we could read; the text says why."""


class HistoryStore:
    """The history in one file. One thread at a time."""

    def __init__(self, path: Path | str, most_cells: int = MOST_CELLS) -> None:
        """Open or make the file.

        Raises Damaged if it must be set aside, sqlite3.Error or OSError if it cannot be had.
        """
        self._most_cells = most_cells
        if path != IN_MEMORY:
            path = Path(path)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite would make it readable for everybody.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._database = sqlite3.connect(
            path, timeout=1.0, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        run = self._database.execute
        try:
            # Another program on the same file is told so, instead of counting twice.
            run("PRAGMA locking_mode = EXCLUSIVE")
            run("PRAGMA journal_mode = WAL")
            run("PRAGMA synchronous = NORMAL")
            run("BEGIN IMMEDIATE")
            [version] = run("PRAGMA user_version").fetchone()
            [tables] = run("SELECT count(*) FROM sqlite_schema").fetchone()
            if not tables:
                for statement in _CREATE:
                    run(statement)
                run(f"PRAGMA user_version = {SCHEMA}")
            run("COMMIT")
            if tables and version != SCHEMA:
                raise Damaged(f"its schema is number {version}, expected {SCHEMA}")
            [found] = run("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise Damaged(str(error)) from error
        if found != "ok":
            raise Damaged(str(found))

    def close(self) -> None:
        """Write everything out."""
        self._database.close()

    def write(self, batch: Batch) -> None:
        """Add cells to those that are there. Raises sqlite3.Error, and then none is added."""
        names = sorted({name for _, name, _ in batch})
        with self._transaction() as run:
            run.executemany(
                "INSERT INTO sites (name) VALUES (?) ON CONFLICT DO NOTHING",
                [(name,) for name in names],
            )
            for number in range(len(TIERS)):
                holders = ", ".join("?" * (len(COLUMNS) + 1))
                run.executemany(
                    f"INSERT INTO tier{number} (site, time, {', '.join(COLUMNS)}) VALUES "
                    f"((SELECT id FROM sites WHERE name = ?), {holders}) "
                    f"ON CONFLICT DO UPDATE SET {_MERGED}",
                    [
                        (name, time, *(getattr(cell, column) for column in COLUMNS))
                        for (tier, name, time), cell in batch.items()
                        if tier == number
                    ],
                )

    def prune(self, now: float) -> None:
        """Forget what is too old, and what is too much."""
        with self._transaction() as run:
            for number, tier in enumerate(TIERS):
                oldest = beginning_of(tier, now) - (tier.kept - 1) * tier.seconds
                row = run.execute(
                    f"SELECT time FROM tier{number} ORDER BY time DESC LIMIT 1 OFFSET ?",
                    (self._most_cells,),
                ).fetchone()
                if row is not None:
                    oldest = max(oldest, row[0] + 1)
                run.execute(f"DELETE FROM tier{number} WHERE time < ?", (oldest,))
                run.execute(f"DELETE FROM tier{number} WHERE time > ?", (now + AHEAD_SECONDS,))
            gone = " AND ".join(
                f"NOT EXISTS (SELECT 1 FROM tier{number} WHERE site = sites.id)"
                for number in range(len(TIERS))
            )
            run.execute(f"DELETE FROM sites WHERE {gone}")

    def read(self, site: str, tier: int, since: float) -> list[Point]:
        """The points of a site in one tier, in order, from ``since`` on."""
        rows = self._database.execute(
            f"SELECT time, {', '.join(COLUMNS)} FROM tier{tier} WHERE time >= ? AND site = "
            "(SELECT id FROM sites WHERE name = ?) ORDER BY time LIMIT ?",
            (since, site, TIERS[tier].kept),
        )
        return [point(time, Cell(*values)) for time, *values in rows]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        cursor = self._database.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        try:
            yield cursor
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")


def set_aside(path: Path, when: int) -> Path:
    """Give a damaged file another name, which is returned. Raises OSError."""
    aside = path.with_name(f"{path.name}.damaged-{when}")
    os.replace(path, aside)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(path.with_name(path.name + suffix), aside.with_name(aside.name + suffix))
    return aside
