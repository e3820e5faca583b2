"""`reload`: what it prints, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from polevpn_trio.__main__ import main
from tests.management.programs import running_router


@pytest.fixture
def sock() -> Iterator[Path]:
    with TemporaryDirectory(prefix="polevpn-") as folder:
        path = Path(folder) / "router.sock"
        with running_router(path):
            yield path


def test_tells_what_was_applied_and_how_to_keep_it(
    sock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reload", "--confirm", "30", "--socket", str(sock)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "gateways: applied at once (removed rome)",
        "tls.listen: not applied, takes a restart",
        "links cut: rome",
        "warning: key: easy to guess",
        "rolled back in 30 s unless you say: polevpn-trio reload --confirmed",
    ]
    assert main(["reload", "--confirmed", "--socket", str(sock)]) == 0
    assert capsys.readouterr().out == "router.json: confirmed\n"
    assert main(["reload", "--socket", str(sock)]) == 0
    assert "rolled back" not in capsys.readouterr().out


def test_ends_with_one_if_it_is_refused(sock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reload", "--confirmed", "--socket", str(sock)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "nothing waits to be confirmed",
        "refused: all goes on as before",
    ]
    assert main(["reload", "--confirmed", "--json", "--socket", str(sock)]) == 1
    assert json.loads(capsys.readouterr().out)["outcome"] == "refused"
