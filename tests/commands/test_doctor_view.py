"""What an examination looks like."""

from __future__ import annotations

import io
import json

from rich.console import Console

from polevpn_trio.commands import doctor_view
from polevpn_trio.commands.doctor_progress import ExaminationProgress
from polevpn_trio.doctor.examination import Section, worst
from polevpn_trio.doctor.finding import Finding, Status, fail, ok, skip, warn
from tests.commands.looks import drawn

SECTIONS = [
    Section("machine", (ok("kernels", "all are compiled"), skip("firewall", "not \x1b[31mread"))),
    Section(
        "network",
        (
            warn("forwarding", "it is off", "nothing passes", "sysctl -w net.ipv4.ip_forward=1"),
            fail("port", "udp port 443 is in use", "the router ends", "stop it"),
            Finding("tcp-congestion", Status.OK, "TCP uses cubic", "bbr is faster", "modprobe bbr"),
        ),
    ),
]


def test_a_drawing_tells_meaning_and_remedy_below_what_is_the_case() -> None:
    lines = drawn(doctor_view.render(SECTIONS))
    assert lines[0] == "machine"
    at = next(number for number, line in enumerate(lines) if "it is off" in line)
    assert lines[at].startswith("  ▲ forwarding")
    assert [line.strip() for line in lines[at + 1 : at + 3]] == [
        "nothing passes",
        "→ sysctl -w net.ipv4.ip_forward=1",
    ]
    assert lines[-1] == "✗ 1 to mend   ▲ 1 to look at   · 1 not known   ✓ 2 well"
    assert not any("\x1b" in line for line in lines)


def test_texts_begin_in_the_same_column_in_all_sections() -> None:
    lines = drawn(doctor_view.render(SECTIONS))
    texts = ("all are compiled", "it is off", "udp port 443", "TCP uses cubic")
    assert len({line.index(text) for line in lines for text in texts if text in line}) == 1


def test_plain_lines_stand_for_themselves() -> None:
    lines = list(doctor_view.lines(SECTIONS))
    assert lines[0] == "machine: ok: kernels: all are compiled"
    assert lines[1] == "machine: skip: firewall: not \\x1b[31mread"
    assert lines[2] == (
        "network: warn: forwarding: it is off; what it means: nothing passes; "
        "what to do: sysctl -w net.ipv4.ip_forward=1"
    )
    assert lines[-1] == "1 to mend, 1 to look at, 1 not known, 2 well"


def test_json_has_everything() -> None:
    found = json.loads(json.dumps(doctor_view.as_json(SECTIONS, worst(SECTIONS).value)))
    assert found["state"] == "fail"
    assert found["sections"][1]["findings"][0] == {
        "check": "forwarding",
        "status": "warn",
        "text": "it is off",
        "meaning": "nothing passes",
        "remedy": "sysctl -w net.ipv4.ip_forward=1",
    }


def test_what_could_not_be_found_out_is_no_alarm() -> None:
    assert worst(SECTIONS[:1]) is Status.OK
    assert worst([Section("x", (warn("a", "b", "c"), ok("d", "e")))]) is Status.WARN


def progress(*, terminal: bool, silent: bool = False) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=100)
    with ExaminationProgress(console, silent=silent) as shown:
        shown.tell("kcp://[2001:db8::1]:443: ClientHello", None)
        shown.tell("packets of 1500 bytes", 0.5)
    return text.getvalue()


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere() -> None:
    assert progress(terminal=False).splitlines() == [
        "kcp://[2001:db8::1]:443: ClientHello",
        "packets of 1500 bytes (50% done)",
    ]
    assert "━" in progress(terminal=True)
    assert "packets of 1500 bytes" in progress(terminal=True)
    assert progress(terminal=True, silent=True) == ""
