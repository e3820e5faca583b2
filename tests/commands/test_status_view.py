"""What a person sees of a status."""

from __future__ import annotations

import pytest

from polevpn_trio.commands import status_view
from tests.commands.looks import drawn, site, status


def test_what_is_wrong_comes_first_with_why_and_what_to_do() -> None:
    look = status(site("berlin"), site("oslo", "degraded"), site("paris", "down"))
    lines = drawn(status_view.render(look, 80))
    assert "2 to look at" not in lines[0]
    assert "1 of 3 sites DOWN, 1 to look at" in lines[0]
    at = next(index for index, line in enumerate(lines) if "paris" in line)
    assert "DOWN 1h12m" in lines[at]
    assert "nothing heard for 60 s" in lines[at]
    assert "→ look at its uplink" in lines[at + 1]
    names = [line.split()[0] for line in lines[at + 3 :] if line.startswith((" p", " o", " b"))]
    assert names == ["paris", "oslo", "berlin"]


def test_a_line_tells_state_link_round_trip_loss_and_rates() -> None:
    [line] = [
        line for line in drawn(status_view.render(status(site("berlin")), 80)) if "●" in line
    ][1:]
    assert line.split() == [
        *("berlin", "●", "up", "1h12m", "kcp", "198.51.100.7", "12.3", "2.0%", "8.0", "M", "1.2"),
        "k",
    ]


@pytest.mark.parametrize("width", [80, 100, 124, 200])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(width: int) -> None:
    sites = [site(name) for name in ("berlin", "x" * 70)]
    for each in sites:
        each["link"] |= {
            "rtt": 0.2345,
            "jitter": 0.0999,
            "loss_sent": {"before_repair": 0.000_01, "after_repair": 0.0},
            "drops": {"queue_full": 123_456},
        }
        each["link"]["rates"] |= {"bytes_sent": 12.4e6, "bytes_received": 7e6}
    lines = drawn(status_view.render(status(*sites), width), width)
    assert max(map(len, lines)) <= width
    shown = [line for line in lines if "198.51.100.7" in line]
    assert len(shown) == 2
    for line in shown:
        assert all(text in line for text in ("234", "<0.01%", "56.0 M", "99.2 M"))


def test_wider_terminals_show_more() -> None:
    look = site("berlin")
    look["link"] |= {"drops": {"queue_full": 3}, "queue_delay": 0.0042}
    narrow, wide, wider = (
        "\n".join(drawn(status_view.render(status(look), width), width)) for width in (80, 110, 140)
    )
    assert "queue_full 3" not in narrow
    assert "queue_full 3" in wide
    assert "198.51.100.7:50412" in wide
    assert "12.3 ±1.10" in wide
    assert "queue ms" not in wide
    assert "192.168.1.0/24" not in wide
    assert "queue ms" in wider
    assert "4.20" in wider
    assert "192.168.1.0/24" in wider


def test_a_narrow_terminal_keeps_the_columns_that_matter_and_cuts_none() -> None:
    look = status(site("berlin"), site("paris", "down"))
    lines = drawn(status_view.render(look, 50), 50)
    assert max(map(len, lines)) <= 50
    head = next(line for line in lines if line.startswith(" site"))
    assert head.split() == ["site", "state", "rtt", "ms", "loss", "in", "b/s"]
    at = lines.index("✗ paris DOWN 1h12m")
    assert lines[at + 1 : at + 3] == ["  nothing heard for 60 s", "  → look at its uplink"]
    head = next(line for line in drawn(status_view.render(look, 40), 40) if "state" in line)
    assert head.split() == ["site", "state", "rtt", "ms"]


@pytest.mark.parametrize(
    ("sites", "text"),
    [
        ([], "no site has connected yet"),
        ([site("berlin")], "1 site up"),
        ([site("berlin"), site("oslo")], "all 2 sites up"),
        ([site("berlin"), site("oslo", "degraded")], "1 to look at"),
    ],
)
def test_everything_in_one_line(sites: list[dict[str, object]], text: str) -> None:
    assert status_view.verdict(status(*sites)) == text


def test_what_a_reload_has_left_to_do_is_in_the_verdict() -> None:
    assert status_view.verdict(status(site("berlin"), state="degraded")) == (
        "1 site up, but look at this"
    )


def test_a_gateway_shows_its_servers() -> None:
    servers = [
        {
            "url": "kcp://192.0.2.1:443",
            "state": "failed",
            "age": 5.0,
            "trouble": {"what": "no answer", "advice": "see whether it runs"},
        },
        {"url": "tls://192.0.2.1:443", "state": "used", "age": 65.0, "trouble": None},
    ]
    look = status(site("10.8.0.2", "degraded"), role="gateway", servers=servers, strangers=None)
    lines = drawn(status_view.render(look, 80))
    assert "up, but look at this" in lines[0]
    assert any("failed" in line and "5s ago: no answer" in line for line in lines)
    plain = list(status_view.lines(look))
    assert (
        "router: server kcp://192.0.2.1:443: failed 5s ago: no answer; "
        "what to do: see whether it runs" in plain
    )


def test_what_repair_leaves_of_a_loss_is_seen_in_every_width() -> None:
    lossy = site("a-site-with-a-long-name", "degraded")
    lossy["link"]["loss_sent"] = {"before_repair": 0.143, "after_repair": 0.0004}
    look = status(lossy)
    assert "14%/<1%" in "\n".join(drawn(status_view.render(look, 80)))
    lossy["link"]["loss_received"] = {"before_repair": 1.0, "after_repair": 0.02}
    assert "100%/2%" in "\n".join(drawn(status_view.render(look, 80)))
    lossy["link"]["loss_received"] = {"before_repair": None, "after_repair": None}
    assert "14%/0.04%" in "\n".join(drawn(status_view.render(look, 110), 110))
    assert "loss 14% (0.04% after repair)" in "\n".join(status_view.lines(look))


def test_advice_for_several_things_that_are_wrong_at_a_site_is_given_once() -> None:
    both = [{"what": what, "advice": "look at its uplink"} for what in ("14% to it", "9% from it")]
    lines = drawn(status_view.render(status(site("oslo", "degraded", troubles=both)), 80))
    assert sum("→" in line for line in lines) == 1
    assert [number for number, line in enumerate(lines) if "% to it" in line or "→" in line] == [
        2,
        4,
    ]


def test_plain_lines_name_site_state_and_what_to_do() -> None:
    look = status(
        site("berlin"),
        site("paris", "down"),
        site("oslo", "degraded", connection=None),
        troubles=[{"what": "key: easy to guess", "advice": ""}],
    )
    assert list(status_view.lines(look)) == [
        "router: down: 1 of 3 sites DOWN, 1 to look at (running for 1d1h, pid 812, "
        "kernels compiled)",
        "router: warning: key: easy to guess",
        "router: site paris: down for 1h12m, networks 192.168.1.0/24",
        "router: site paris: down: nothing heard for 60 s; what to do: look at its uplink",
        "router: site oslo: degraded, up for 1h12m, networks 192.168.1.0/24",
        "router: site oslo: degraded: 20% lost",
        "router: site berlin: up for 1h12m, kcp 198.51.100.7:50412, rtt 12.3 ±1.10 ms, loss 2.0%, "
        "in 8.0 Mb/s, out 1.2 kb/s, networks 192.168.1.0/24",
        "router: 1.2 k packets forwarded; dropped: no_route 7; 3 connections without a login",
    ]


def test_without_rates_amounts_are_told() -> None:
    look = site("berlin")
    look["link"] |= {"rates": None, "queue_delay": 0.0042}
    lines = "\n".join(drawn(status_view.render(status(look), 80)))
    assert "in B" in lines
    assert "12.0 M" in lines
    assert "in 3.4 kB, out 12.0 MB, queue 4.20 ms" in "\n".join(status_view.lines(status(look)))


def test_what_a_peer_chose_cannot_drive_the_terminal() -> None:
    look = site("be\x1b[2Jrlin", "down", networks=["\x1b[31m"])
    look["troubles"][0]["what"] = "\x1b]0;title\x07"
    text = "\n".join(
        (*drawn(status_view.render(status(look), 200)), *status_view.lines(status(look)))
    )
    assert "\x1b" not in text


def test_the_tree_shows_counters_that_are_not_zero() -> None:
    child = {
        "name": "control",
        "age": 5.0,
        "children": [],
        "statistics": {
            "connections": 1,
            "refused": 0,
            "detail": [{"rtt": 0.5, "cipher": "AES"}],
            "on": True,
        },
    }
    tree = {"name": "router", "age": 70.0, "statistics": None, "children": [child]}
    assert drawn(status_view.tree(tree)) == [
        "router  1m10s",
        "└── control  5s  connections 1, rtt 0.5",
    ]
