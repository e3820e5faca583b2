"""The command line of the profile."""

from __future__ import annotations

import pytest

from bench import profile


def test_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        profile.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for word in ("./run bench profile", "--subject", "--without", "--seconds", "--json"):
        assert word in said


@pytest.mark.parametrize(
    "words", [["--seconds", "0"], ["--seconds", "x"], ["--subject", "openvpn"]]
)
def test_a_senseless_option_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        profile.main(words)
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err
