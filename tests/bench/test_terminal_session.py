"""The session in the README is what the programs print today."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs_root_lab

PATIENCE = 120


def lines(picture: Path) -> str:
    """Give the text of an SVG file, without what differs each time."""
    text = "\n".join(re.findall(r"<text[^>]*>([^<]*)</text>", picture.read_text()))
    return html.unescape(text).replace("\xa0", " ")


def test_the_picture_shows_what_happened(tmp_path: Path) -> None:
    file = tmp_path / "session.svg"
    command = [sys.executable, "-m", "bench.terminal_session", str(file)]
    subprocess.run(command, check=True, timeout=PATIENCE)
    shown = lines(file)
    for line in ("all 2 sites up", "1 of 2 sites DOWN", "the peer closed the link", "no_route"):
        assert line in shown
        assert line in lines(Path("docs/terminal.svg"))
    assert "http" not in re.sub(r"http://www\.w3\.org\S*", "", file.read_text())
    # What follows the first characters of a join string is a key.
    assert not re.search(r"polevpn://v1/[\w-]{13}", shown)
