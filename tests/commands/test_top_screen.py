"""What `top` shows, and what its keys do."""

from __future__ import annotations

from typing import Any

import pytest

from polevpn_trio.commands.top import keys
from polevpn_trio.commands.top_screen import HELP, ORDERS, Screen
from tests.commands.looks import drawn, site, status


def rated(name: str, state: str = "up", rate: float = 0.0, **changes: Any) -> dict[str, Any]:
    found = site(name, state, **changes)
    found["link"]["rates"] |= {"bytes_sent": rate, "bytes_received": 2 * rate}
    return found


def event(message: str) -> dict[str, Any]:
    return {
        "number": 1,
        "time": 1.8e9,
        "level": "info",
        "source": "router",
        "message": message,
        "site": "",
        "connection": "",
        "advice": "not here",
    }


@pytest.fixture
def screen() -> Screen:
    made = Screen()
    made.take_status(
        status(rated("berlin", rate=10), rated("oslo", rate=1e6), rated("paris", "down"))
    )
    return made


def names(screen: Screen) -> list[str]:
    return [each["name"] for each in screen.sites()]


def press(screen: Screen, *keys: str) -> None:
    for key in keys:
        screen.press(key)


def test_before_the_first_answer_it_says_so() -> None:
    screen = Screen()
    assert drawn(screen.render(80, 24)) == ["asking ..."]
    screen.take_problem("nobody there")
    assert drawn(screen.render(80, 24)) == ["nobody there"]


def test_those_in_need_come_first_and_s_sorts_otherwise(screen: Screen) -> None:
    assert names(screen) == ["paris", "berlin", "oslo"]
    orders = {screen.order: names(screen)}
    for _ in range(len(ORDERS) - 1):
        press(screen, "s")
        orders[screen.order] = names(screen)
    assert orders.keys() == ORDERS.keys()
    assert orders["name"] == ["berlin", "oslo", "paris"]
    assert orders["out"][0] == orders["in"][0] == "oslo"
    press(screen, "s", "s", "S")
    assert names(screen) == ["paris", "oslo", "berlin"]


def test_a_word_filters_while_it_is_typed(screen: Screen) -> None:
    press(screen, "/", "o", "x")
    assert names(screen) == []
    press(screen, "backspace", "S")
    assert screen.word == "oS"
    press(screen, "enter")
    assert names(screen) == ["oslo"]
    assert "only: oS" in drawn(screen.render(80, 24))[-1]
    press(screen, "escape")
    assert len(names(screen)) == 3
    press(screen, "/", "q")
    assert not screen.ended
    press(screen, "escape", "q")
    assert screen.ended


def test_peers_and_networks_are_searched_too(screen: Screen) -> None:
    for word, count in (("198.51", 2), ("192.168.1", 3), ("kcp", 2)):
        screen.word = word
        assert len(names(screen)) == count


def test_a_pause_holds_the_picture(screen: Screen) -> None:
    press(screen, "p")
    screen.take_status(status(rated("rome")))
    assert "paris" in names(screen)
    assert "PAUSED" in drawn(screen.render(100, 24), 100)[0]
    press(screen, " ")
    screen.take_status(status(rated("rome")))
    assert names(screen) == ["rome"]


def test_a_chosen_site_shows_all_about_it(screen: Screen) -> None:
    screen.render(100, 30)
    press(screen, "down", "up", "up", "enter")
    text = "\n".join(drawn(screen.render(100, 30), 100))
    assert "trouble     nothing heard for 60 s" in text
    assert "look at its uplink" in text
    press(screen, "j", "j", "j")
    text = "\n".join(drawn(screen.render(100, 30), 100))
    assert "5d1f0c2a by kcp 198.51.100.7:50412, native gso ipv6" in text
    assert "round trip 12.3 ±1.10 ms, loss 2.0%" in text
    assert "peak 16.0 Mb/s" in text
    press(screen, "k", "enter")
    assert "peak" not in "\n".join(drawn(screen.render(100, 30), 100))


def test_many_sites_are_gone_through_by_pages() -> None:
    screen = Screen()
    screen.take_status(status(*(rated(f"site-{number:02}") for number in range(30))))
    screen.render(80, 24)
    seen = []
    for key in keys("\x1b[6~\x1b[6~\x1b[5~\x1b[F\x1b[6~\x1b[H\x1b[2~"):
        screen.press(key)
        seen.append(screen.chosen)
    assert seen == [f"site-{number:02}" for number in (10, 20, 10, 29, 29, 0)]


def test_events_are_shown_and_hidden(screen: Screen) -> None:
    screen.take_events([event(f"number {number}") for number in range(60)])
    lines = drawn(screen.render(80, 24))
    assert [line.split()[-1] for line in lines if "number" in line] == ["56", "57", "58", "59"]
    assert not any("not here" in line for line in lines)
    press(screen, "e")
    assert not any("number" in line for line in drawn(screen.render(80, 24)))


def test_help_names_all_keys(screen: Screen) -> None:
    press(screen, "?")
    for width, height in ((80, 24), (50, 10)):
        lines = drawn(screen.render(width, height), width)
        assert all(keys in "\n".join(lines) for keys, _ in HELP)
        assert len(lines) <= height
    assert all(text in "\n".join(drawn(screen.render(80, 24))) for _, text in HELP)
    press(screen, "escape")
    assert "berlin" in "\n".join(drawn(screen.render(80, 24)))


def test_a_lost_program_is_told_beside_the_last_picture(screen: Screen) -> None:
    screen.take_problem("trying again: ended")
    lines = drawn(screen.render(100, 24), 100)
    assert "trying again" in lines[0]
    assert "paris" in "\n".join(lines)


def test_a_tiny_terminal_shows_the_sites_before_anything_else() -> None:
    screen = Screen()
    screen.take_events([event("something")] * 10)
    screen.take_status(
        status(*(rated(f"site-{number}") for number in range(6)), rated("x", "down"))
    )
    lines = drawn(screen.render(50, 10), 50)
    assert [line.split()[0] for line in lines[2:9]] == ["x", *(f"site-{n}" for n in range(6))]
    assert "12.3" in lines[3]
    assert "site    " in lines[1]
    assert "…" not in lines[1]
    # One line less, and the last one is reached by the keyboard.
    assert "1-6 of 7" in drawn(screen.render(50, 9), 50)[-1]
    press(screen, *["down"] * 6)
    lines = drawn(screen.render(50, 9), 50)
    assert lines[-2].startswith("site-5")
    assert "2-7 of 7" in lines[-1]
    # All about a site takes the place of the others.
    press(screen, *["up"] * 6, "enter")
    text = "\n".join(drawn(screen.render(50, 10), 50))
    assert "what to do  look at its uplink" in text
    assert "Enter back" in text
    assert "site-0" not in text
    press(screen, "down")
    assert "what to do" not in "\n".join(drawn(screen.render(50, 10), 50))


def test_what_is_wrong_stands_below_the_table_with_what_to_do(screen: Screen) -> None:
    screen.take_events([event("something")])
    lines = drawn(screen.render(80, 24))
    at = lines.index("✗ paris: nothing heard for 60 s")
    assert lines[at + 1] == "  → look at its uplink"
    assert "something" in lines[at + 3]
    assert "q quit" in lines[23]
    # Where there are more sites than lines, a third is left to it.
    screen.take_status(status(*(rated(f"site-{n}") for n in range(99)), rated("paris", "down")))
    assert "✗ paris: nothing heard for 60 s" in drawn(screen.render(80, 24))


@pytest.mark.parametrize(
    ("width", "height"), [(80, 24), (60, 12), (50, 10), (40, 6), (120, 40), (200, 60)]
)
@pytest.mark.parametrize("detailed", [False, True])
def test_it_fits_the_terminal_whatever_there_is_to_show(
    width: int, height: int, detailed: bool
) -> None:
    screen = Screen()
    for _ in range(3):
        screen.take_status(status(*(rated(f"site-{number}", rate=number) for number in range(300))))
    screen.take_events([event("x" * 300)] * 10)
    if detailed:
        screen.press("enter")
    for _ in range(3):
        lines = drawn(screen.render(width, height), width)
        assert len(lines) == height
        assert max(map(len, lines)) <= width
        for _ in range(150):
            screen.press("down")
        assert screen.chosen in "\n".join(drawn(screen.render(width, height), width))


@pytest.mark.parametrize("width", [80, 100, 110, 124, 140])
def test_no_loss_is_cut_off(width: int) -> None:
    screen = Screen()
    lossy = rated("berlin", rate=1e6)
    lossy["link"]["loss_sent"] = {"before_repair": 0.14, "after_repair": 0.02}
    screen.take_status(status(lossy))
    head, line = drawn(screen.render(width, 24), width)[1:3]
    assert ("14%/2.0%" if width >= 100 else "14%/2%") in line
    assert "out b/s" in head


def test_sparklines_are_of_the_rates_so_far_and_ascii_where_need_be() -> None:
    screen = Screen(ascii_only=True)
    for rate in (0, 4, 8):
        screen.take_status(status(rated("berlin", rate=rate)))
    assert "_=#" in "\n".join(drawn(screen.render(120, 24), 120))
