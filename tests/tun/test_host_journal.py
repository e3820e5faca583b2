"""The journal gives back what was written, and believes nothing else."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.tun.host_changes import Change, Masquerade, Route, Sysctl
from polevpn_trio.tun.host_journal import LARGEST_FILE, Journal

PIN = Route(
    ipaddress.ip_network("192.0.2.9/32"),
    "eth0",
    gateway=ipaddress.ip_address("198.51.100.1"),
    onlink=True,
)
CHANGES: tuple[Change, ...] = (
    Sysctl("net/ipv6/conf/eth0.7/accept_ra", 1, 2),
    Sysctl("net/ipv6/conf/all/forwarding", 0, 1),
    PIN,
    Masquerade("pole0"),
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state", "pole0")


def test_gives_back_what_was_written_and_is_private(journal: Journal) -> None:
    journal.write(CHANGES)
    assert journal.leftover() == CHANGES
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in journal.path.parent.iterdir()] == [journal.path.name]


def test_what_goes_away_with_the_device_is_not_written(journal: Journal) -> None:
    journal.write(
        [
            Sysctl("net/ipv6/conf/pole0/accept_ra", 1, 0),
            Route(ipaddress.ip_network("10.0.0.0/8"), "pole0"),
        ]
    )
    assert not journal.path.exists()
    assert journal.leftover() == ()


def test_nothing_left_to_undo_removes_the_file(journal: Journal) -> None:
    journal.write(CHANGES)
    journal.write([])
    assert not journal.path.exists()
    journal.remove()


def test_a_disk_without_room_keeps_nothing_of_it(journal: Journal) -> None:
    journal.write(CHANGES)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Stands in for a full disk: the kernel refuses to write beyond it.
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        journal.write(CHANGES[:2])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [each.name for each in journal.path.parent.iterdir()] == [journal.path.name]
    assert journal.leftover() == CHANGES


def test_a_directory_that_cannot_be_made_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "state", "pole0")
    assert journal.leftover() == ()
    journal.write(CHANGES)
    journal.write(CHANGES)
    journal.remove()
    assert len(caplog.records) == 1
    assert "cannot write" in caplog.text


def spoil_entry(**members: object) -> Callable[[dict[str, Any]], None]:
    def spoil(document: dict[str, Any]) -> None:
        document["changes"][0] = members

    return spoil


def spoil_member(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def spoil(document: dict[str, Any]) -> None:
        document[name] = value

    return spoil


ROUTE = {
    "kind": "route",
    "destination": "192.0.2.9/32",
    "interface": "eth0",
    "gateway": None,
    "onlink": False,
    "source": None,
}


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_entry(kind="sysctl", key="kernel/core_pattern", before=0, after=1),
        spoil_entry(kind="sysctl", key="net/ipv6/conf/../accept_ra", before=0, after=1),
        spoil_entry(kind="sysctl", key="net/ipv6/conf/a/b/accept_ra", before=0, after=1),
        spoil_entry(kind="sysctl", key="net/ipv6/conf/all/accept_ra", before=0, after=1),
        spoil_entry(kind="sysctl", key="net/ipv4/ip_forward\n", before=0, after=1),
        spoil_entry(kind="sysctl", key="net/ipv4/ip_forward", before=7, after=1),
        spoil_entry(kind="sysctl", key="net/ipv4/ip_forward", before="0", after=1),
        spoil_entry(kind="sysctl", key="net/ipv4/ip_forward"),
        spoil_entry(**{**ROUTE, "destination": "0.0.0.0/0"}),
        spoil_entry(**{**ROUTE, "destination": "192.0.2.0/24"}),
        spoil_entry(**{**ROUTE, "destination": "anywhere"}),
        spoil_entry(**{**ROUTE, "gateway": 7}),
        spoil_entry(**{**ROUTE, "gateway": "gateway"}),
        spoil_entry(**{**ROUTE, "interface": "../etc"}),
        spoil_entry(kind="command", command="rm"),
        spoil_member("version", 2),
        spoil_member("interface", "eth0"),
        spoil_member("changes", {}),
        spoil_member("changes", [1]),
    ],
)
def test_a_journal_that_asks_for_more_than_undoing_is_removed_whole(
    journal: Journal, caplog: pytest.LogCaptureFixture, spoil: Callable[[dict[str, Any]], None]
) -> None:
    journal.write(CHANGES)
    document = json.loads(journal.path.read_text())
    spoil(document)
    journal.path.write_text(json.dumps(document))
    assert journal.leftover() == ()
    assert not journal.path.exists()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("member", ["boot", "namespace"])
def test_a_journal_from_before_a_reboot_is_dropped_quietly(
    journal: Journal, caplog: pytest.LogCaptureFixture, member: str
) -> None:
    journal.write(CHANGES)
    document = json.loads(journal.path.read_text())
    document[member] = "another"
    journal.path.write_text(json.dumps(document))
    assert journal.leftover() == ()
    assert not journal.path.exists()
    assert caplog.records == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[]", b"null", b"[" * 60_000, b"0" * 5000]
)
def test_junk_is_removed(journal: Journal, content: bytes) -> None:
    journal.path.parent.mkdir()
    journal.path.write_bytes(content)
    journal.path.chmod(0o600)
    assert journal.leftover() == ()
    assert not journal.path.exists()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_not_believed(journal: Journal, mode: int) -> None:
    journal.write(CHANGES)
    journal.path.chmod(mode)
    assert journal.leftover() == ()
    assert not journal.path.exists()


def test_neither_a_link_nor_a_pipe_nor_a_huge_file_is_read(journal: Journal) -> None:
    journal.write(CHANGES)
    elsewhere = journal.path.with_name("elsewhere")
    journal.path.rename(elsewhere)
    journal.path.symlink_to(elsewhere)
    assert journal.leftover() == ()
    assert not journal.path.is_symlink()
    assert elsewhere.exists()
    os.mkfifo(journal.path, 0o600)
    assert journal.leftover() == ()
    elsewhere.write_bytes(b" " * LARGEST_FILE + elsewhere.read_bytes())
    elsewhere.rename(journal.path)
    assert journal.leftover() == ()
    assert not journal.path.exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    st.dictionaries(
        st.sampled_from(["kind", "key", "before", "after", *ROUTE]),
        st.sampled_from(["sysctl", "route", "masquerade", "net/ipv4/ip_forward", 0, 1, None])
        | JSON,
    )
)
def test_no_entry_makes_the_reader_fail(tmp_path_factory: Any, entry: dict[str, object]) -> None:
    journal = Journal(tmp_path_factory.getbasetemp(), "pole0")
    journal.write(CHANGES)
    document = json.loads(journal.path.read_text())
    document["changes"] = [entry]
    journal.path.write_text(json.dumps(document))
    for change in journal.leftover():
        assert isinstance(change, Masquerade | Sysctl | Route)
