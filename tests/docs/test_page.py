"""How pages of the documentation are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from .page import Command, File, read_page


def test_files_and_commands_come_in_order(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n`a.json` on **one** and **two**:\n\n```json\n{}\n```\n\nThen:\n\n"
        "```console\none$ polevpn-trio \\\n    check a.json\nfine ...\ntwo$ ping ::1\n```\n"
        "\n```sh\nnot for us\n```\n"
    )
    assert read_page(page) == [
        File(5, "one", "a.json", "{}\n"),
        File(5, "two", "a.json", "{}\n"),
        Command(12, "one", "polevpn-trio check a.json", ("fine ...",)),
        Command(15, "two", "ping ::1"),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Somewhere:\n\n```json\n{}\n```\n", "line 3: no line before it says which file"),
        ("```console\nout of nowhere\n```\n", "line 1: output without a command"),
    ],
)
def test_a_block_without_a_place_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read_page(page)
