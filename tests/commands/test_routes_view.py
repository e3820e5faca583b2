"""What a person sees of routes and explanations."""

from __future__ import annotations

from typing import Any

from polevpn_trio.commands import routes_view
from tests.commands.looks import drawn


def entry(network: str, site: str, **changes: Any) -> dict[str, Any]:
    return {
        "network": network,
        "site": site,
        "via": "kcp 198.51.100.7:50412",
        "origin": "registered",
        "connection": "5d1f0c2a",
        "age": 75.0,
        "conflicts": [],
        **changes,
    }


CONFLICT = {"what": "also named by oslo", "advice": "correct one of them"}
ROUTES = [
    entry("10.8.0.2", "berlin"),
    entry("10.99.0.0/16", "paris", conflicts=[CONFLICT]),
]

EXPLAINED: dict[str, Any] = {
    "source": "192.168.1.1",
    "destination": "10.99.0.1",
    "verdict": "delivered",
    "reason": "",
    "advice": "",
    "source_site": "berlin",
    "site": "paris",
    "route": "10.99.0.0/16",
    "policy": "no rules",
    "link": {
        "identifier": "5d1f0c2a",
        "transport": "kcp",
        "peer": "198.51.100.7:50412",
        "age": 5.0,
        "silent": 0.2,
        "features": None,
    },
    "mtu": None,
    "steps": [{"question": "which route?", "answer": "10.99.0.0/16", "passes": True}],
    "alternatives": [{"what": "10.0.0.0/8 of oslo", "why_not": "less precise"}],
}


def test_routes_tell_where_they_come_from_and_conflicts_what_to_do() -> None:
    lines = drawn(routes_view.render_routes(ROUTES, 80))
    assert any(
        line.split() == ["10.8.0.2", "berlin", "kcp", "198.51.100.7:50412", "registered", "1m15s"]
        for line in lines
    )
    assert any(line.split()[:2] == ["▲", "10.99.0.0/16"] for line in lines)
    assert lines[-2:] == [" ▲ 10.99.0.0/16: also named by oslo", " → correct one of them"]
    assert "→" not in "\n".join(drawn(routes_view.render_routes(ROUTES[:1], 80)))
    assert drawn(routes_view.render_routes([], 80)) == ["no routes"]
    assert list(routes_view.route_lines(ROUTES)) == [
        "10.8.0.2 site berlin via kcp 198.51.100.7:50412 registered 1m15s",
        "10.99.0.0/16 site paris via kcp 198.51.100.7:50412 registered 1m15s; also named by oslo",
    ]


def test_a_narrow_terminal_cuts_neither_networks_nor_answers() -> None:
    long = entry("192.168.100.0/24", "x" * 63, age=86_399.0)
    lines = drawn(routes_view.render_routes([long], 50), 50)
    assert max(map(len, lines)) <= 50
    assert any("192.168.100.0/24" in line and line.endswith("23h59m") for line in lines)
    answered = {
        **EXPLAINED["steps"][0],
        "question": "which route_networks hold its destination?",
        "answer": "192.168.100.0/24",
    }
    lines = drawn(routes_view.render_explanation(EXPLAINED | {"steps": [answered]}, 50), 50)
    assert any(line.endswith("192.168.100.0/24") for line in lines)
    lines = drawn(routes_view.render_explanation(EXPLAINED | {"steps": [answered]}, 80))
    assert any("hold its destination?  192.168.100.0/24" in line for line in lines)


def test_brackets_are_no_markup() -> None:
    # Rich takes those that begin with a letter for its own; a closing one is a mistake to it.
    peer = "kcp [fd00::7]:50412"
    text = "\n".join(drawn(routes_view.render_routes([entry("10.8.0.2", "berlin", via=peer)], 80)))
    assert peer in text
    found = EXPLAINED | {
        "policy": 'rule "[/web]"',
        "link": EXPLAINED["link"] | {"peer": "[fd00::7]:50412"},
    }
    text = "\n".join(drawn(routes_view.render_explanation(found, 80)))
    assert "kcp [fd00::7]:50412 (classic)" in text
    assert 'rule "[/web]"' in text


def test_routes_are_found_by_network_site_or_way() -> None:
    for word, count in (("10.99", 1), ("berlin", 1), ("198.51", 2), ("rome", 0), (None, 2)):
        assert len(routes_view.matching(ROUTES, word)) == count


def test_the_way_of_a_packet_is_told_step_by_step() -> None:
    text = "\n".join(drawn(routes_view.render_explanation(EXPLAINED, 120), 120))
    for part in (
        "192.168.1.1 → 10.99.0.1",
        "goes to paris",
        "kcp 198.51.100.7:50412 (classic), heard 0s ago, connection 5d1f0c2a",
        "✓",
        "no limit here",
        "not 10.0.0.0/8 of oslo",
    ):
        assert part in text
    assert list(routes_view.explanation_lines(EXPLAINED))[:2] == [
        "192.168.1.1 -> 10.99.0.1: goes to paris",
        "from site: berlin",
    ]


def test_a_drop_is_told_by_its_counter_and_what_to_do() -> None:
    found = EXPLAINED | {
        "verdict": "dropped",
        "reason": "no_route",
        "advice": "announce it",
        "site": "",
        "link": None,
        "mtu": 1500,
        "steps": [{"question": "which route?", "answer": "none", "passes": False}],
    }
    text = "\n".join(drawn(routes_view.render_explanation(found, 80)))
    assert "dropped (no_route)" in text
    assert "→ announce it" in text
    assert "✗" in text
    lines = list(routes_view.explanation_lines(found))
    assert "what to do: announce it" in lines
    assert "link: none" in lines
    assert "mtu: 1500 bytes" in lines
    assert "no: which route? none" in lines


def test_what_never_enters_the_tunnel_has_no_link() -> None:
    found = EXPLAINED | {"verdict": "local", "link": None}
    lines = list(routes_view.explanation_lines(found))
    assert lines[0].endswith("does not enter the tunnel")
    assert not any(line.startswith("link") for line in lines)
