"""Files for their owner only: whole, private from the start, and never over another by mistake."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from polevpn_trio.control.secret_file import make_folder, write_file


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_new_file_is_for_its_owner_only_whatever_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_file(tmp_path / "a", "secret", replace=False)
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_text() == "secret"
    assert mode(tmp_path / "a") == 0o600
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_may_be_public(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_file(tmp_path / "a", "certificate", replace=False, mode=0o644)
    finally:
        os.umask(before)
    assert mode(tmp_path / "a") == 0o644


def test_what_is_there_is_not_replaced_unless_it_may_be(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("old")
    file.chmod(0o644)
    with pytest.raises(FileExistsError):
        write_file(file, "new", replace=False)
    assert file.read_text() == "old"
    write_file(file, "new", replace=True)
    assert (file.read_text(), mode(file)) == ("new", 0o600)
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "link", "new", replace=False)
    assert not (tmp_path / "target").exists()


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_file(tmp_path / "folder", "new", replace=True)
    assert os.listdir(tmp_path) == ["folder"]
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "none" / "a", "new", replace=False)


def test_a_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    make_folder(tmp_path / "folder")
    assert mode(tmp_path / "folder") == 0o700
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "folder")
    with pytest.raises(FileNotFoundError):
        make_folder(tmp_path / "none" / "folder")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_leaves_a_file_to_who_has_the_old_one_or_the_directory(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    try:
        os.chown(folder, 12345, 23456)
    except OSError:
        pytest.skip("this user namespace has no other users")
    write_file(folder / "a", "new", replace=False)
    os.chown(tmp_path, 0, 0)
    (tmp_path / "b").touch()
    os.chown(tmp_path / "b", 12345, 23456)
    write_file(tmp_path / "b", "new", replace=True)
    write_file(tmp_path / "c", "new", replace=False)
    make_folder(folder / "inner")
    given = (folder / "a", tmp_path / "b", folder / "inner")
    owners = [(file.stat().st_uid, file.stat().st_gid) for file in given]
    assert owners == [(12345, 23456)] * 3
    assert (tmp_path / "c").stat().st_uid == 0
