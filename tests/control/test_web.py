"""The TCP port's keys as a web server."""

from __future__ import annotations

from pathlib import Path

import pytest

from polevpn_trio.control.members import Members, Report
from polevpn_trio.control.web import DEFAULT_SITE, MAX_PAGE, WEB_KEYS, WebSite, web_site


def read(folder: Path, values: dict[str, object]) -> tuple[WebSite, list[str]]:
    report = Report(folder / "router.json")
    site = web_site(Members(report, "tls.", values, WEB_KEYS), folder)
    return site, [f"{mistake.key}: {mistake.problem}" for mistake in report.mistakes]


def test_nothing_said_means_no_page_and_a_websocket_anywhere(tmp_path: Path) -> None:
    assert read(tmp_path, {}) == (DEFAULT_SITE, [])
    assert DEFAULT_SITE.page is None
    assert DEFAULT_SITE.websocket_path is None
    assert DEFAULT_SITE.schemes == ("tls", "wss")


def test_all_keys(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(b"<p>hi")
    site, mistakes = read(
        tmp_path,
        {"page_file": "index.html", "websocket_path": "/a/b-c_d~.9", "schemes": ["wss"]},
    )
    assert not mistakes
    assert site == WebSite(b"<p>hi", "text/html; charset=utf-8", "/a/b-c_d~.9", ("wss",))
    # What may be secret is not told to whoever reads a log.
    assert "/a/b-c" not in repr(site)


def test_the_type_of_a_page_follows_from_its_name(tmp_path: Path) -> None:
    for name, expected in (("a.txt", "text/plain"), ("a", "text/html; charset=utf-8")):
        (tmp_path / name).write_bytes(b"")
        assert read(tmp_path, {"page_file": name})[0].page_type == expected


@pytest.mark.parametrize(
    ("values", "mistake"),
    [
        ({"page_file": "none.html"}, '"none.html" cannot be read: No such file or directory'),
        ({"page_file": "a\0b"}, "cannot be read: no file name"),
        ({"page_file": 7}, "a number, expected the path of a file"),
        ({"page_file": "large"}, "expected a small page"),
        ({"websocket_path": "no/slash"}, "not a path of a URL"),
        ({"websocket_path": "/with?query"}, "not a path of a URL"),
        ({"websocket_path": "/with blank"}, "not a path of a URL"),
        ({"websocket_path": "/" + "x" * 200}, "not a path of a URL"),
        ({"websocket_path": 1}, "a number, expected a path"),
        ({"schemes": "wss"}, "a string, expected a list of"),
        ({"schemes": []}, "empty, expected a list of"),
        ({"schemes": ["kcp"]}, '"kcp", expected "tls" or "wss"'),
    ],
)
def test_mistakes_are_told(tmp_path: Path, values: dict[str, object], mistake: str) -> None:
    (tmp_path / "large").write_bytes(bytes(MAX_PAGE + 1))
    _, mistakes = read(tmp_path, values)
    assert len(mistakes) == 1
    assert mistake in mistakes[0]
    assert mistakes[0].startswith(f"tls.{next(iter(values))}")


def test_a_path_that_is_refused_is_not_repeated(tmp_path: Path) -> None:
    _, mistakes = read(tmp_path, {"websocket_path": "hush hush"})
    assert "hush" not in mistakes[0]
