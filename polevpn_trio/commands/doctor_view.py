"""How an examination looks, on a terminal and in plain lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from polevpn_trio.control.log import printable
from polevpn_trio.doctor.examination import Section
from polevpn_trio.doctor.finding import Finding, Status

_MARKS = {
    Status.OK: ("✓", "green"),
    Status.WARN: ("▲", "bold yellow"),
    Status.FAIL: ("✗", "bold red"),
    Status.SKIP: ("·", "dim"),
}

_NAMES = {
    Status.FAIL: "to mend",
    Status.WARN: "to look at",
    Status.SKIP: "not known",
    Status.OK: "well",
}


def render(sections: Sequence[Section]) -> RenderableType:
    """A list for each section; what is not well takes its meaning and its remedy along."""
    parts: list[RenderableType] = []
    widest = max(len(each.check) for section in sections for each in section.findings)
    for section in sections:
        parts.append(Text(printable(section.title), "bold"))
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, style="dim", min_width=widest)
        table.add_column(ratio=1, overflow="fold")
        for finding in section.findings:
            mark, style = _MARKS[finding.status]
            table.add_row(Text(f"  {mark}", style), finding.check, _text(finding))
        parts.append(Padding(table, (0, 0, 1, 0)))
    parts.append(_conclusion(sections))
    return Group(*parts)


def _text(finding: Finding) -> Text:
    _, style = _MARKS[finding.status]
    well = finding.status is Status.OK
    text = Text(printable(finding.text), "" if well else style)
    if finding.meaning:
        text.append(f"\n{printable(finding.meaning)}", "dim" if well else "default not bold")
    if finding.remedy:
        text.append(f"\n→ {printable(finding.remedy)}", "dim cyan" if well else "cyan not bold")
    return text


def _conclusion(sections: Sequence[Section]) -> Text:
    counts = _counts(sections)
    text = Text()
    for status in (Status.FAIL, Status.WARN, Status.SKIP, Status.OK):
        if counts[status]:
            mark, style = _MARKS[status]
            text.append(f"{mark} {counts[status]} {_NAMES[status]}", style)
            text.append("   ")
    text.rstrip()
    return text


def lines(sections: Sequence[Section]) -> Iterator[str]:
    """A line a finding, of which each says which section it is of."""
    for section in sections:
        for finding in section.findings:
            line = f"{section.title}: {finding.status.value}: {finding.check}: {finding.text}"
            if finding.meaning:
                line += f"; what it means: {finding.meaning}"
            if finding.remedy:
                line += f"; what to do: {finding.remedy}"
            yield printable(line)
    counts = _counts(sections)
    yield ", ".join(f"{counts[status]} {name}" for status, name in _NAMES.items() if counts[status])


def as_json(sections: Sequence[Section], state: str) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "state": state,
        "sections": [
            {
                "title": section.title,
                "findings": [
                    {
                        "check": finding.check,
                        "status": finding.status.value,
                        "text": finding.text,
                        "meaning": finding.meaning,
                        "remedy": finding.remedy,
                    }
                    for finding in section.findings
                ],
            }
            for section in sections
        ],
    }


def _counts(sections: Sequence[Section]) -> Counter[Status]:
    return Counter(finding.status for section in sections for finding in section.findings)
