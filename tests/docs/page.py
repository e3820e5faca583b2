"""Read a page of the documentation as what it asks its reader to do, in order.

A page puts a file before its content, ``NAME`` in backticks and the machine in bold::

    `gateway.json` on **office**:

    ```json
    {...}
    ```

and commands into ``console`` blocks, the prompt being the machine::

    ```console
    office$ sudo polevpn-trio gateway
    ```

A backslash at the end of a line continues a command. Other lines without a prompt are output;
three dots stand for anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

_FENCE = re.compile(r"^```(\w*)\s*$")
_FILE = re.compile(r"`([\w./-]+)` on ((?:\*\*[\w-]+\*\*(?:, | and )?)+):$")
_MACHINE = re.compile(r"\*\*([\w-]+)\*\*")
_PROMPT = re.compile(r"^([\w-]+)\$ (.*)$")


@attrs.frozen
class File:
    """A file that is to be written."""

    line: int
    machine: str
    name: str
    content: str


@attrs.frozen
class Command:
    """A command that is to be given, and what the page says it prints."""

    line: int
    machine: str
    text: str
    output: tuple[str, ...] = ()


def read_page(path: Path) -> list[File | Command]:
    """Return the steps of a page. Raises ValueError for a block that says not where it belongs."""
    steps: list[File | Command] = []
    before = ""
    for number, language, block in _blocks(path.read_text()):
        if isinstance(block, str):
            before = block or before
            continue
        where = f"{path.name}, line {number}"
        if language == "json":
            named = _FILE.search(before)
            if named is None:
                raise ValueError(f"{where}: no line before it says which file this is, and where")
            content = "\n".join(block) + "\n"
            steps += [
                File(number, machine, named[1], content) for machine in _MACHINE.findall(named[2])
            ]
        elif language == "console":
            steps += _commands(where, number, block)
    return steps


def shell_blocks(text: str) -> list[str]:
    """The blocks of a page that are for a shell, as they are."""
    return [block for language, block in fenced_blocks(text) if language == "sh"]


def fenced_blocks(text: str) -> list[tuple[str, str]]:
    """Language and text of each fenced block of a page."""
    return [
        (language, "\n".join(block))
        for _, language, block in _blocks(text)
        if not isinstance(block, str)
    ]


def _blocks(text: str) -> Iterator[tuple[int, str, str | list[str]]]:
    """Yield (line number, "", line) for prose and (line number, language, lines) for blocks."""
    language: str | None = None
    block: list[str] = []
    begun = 0
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if fence is None and language is None:
            yield number, "", line
        elif fence is None:
            block.append(line)
        elif language is None:
            language, block, begun = fence[1], [], number
        else:
            yield begun, language, block
            language = None


def _commands(where: str, number: int, block: list[str]) -> Iterator[Command]:
    current: Command | None = None
    for offset, line in enumerate(block, 1):
        prompt = _PROMPT.match(line)
        if prompt is not None:
            if current is not None:
                yield current
            current = Command(number + offset, prompt[1], prompt[2])
        elif current is None:
            raise ValueError(f"{where}: output without a command before it")
        elif current.text.endswith("\\") and not current.output:
            current = attrs.evolve(current, text=f"{current.text[:-1]}{line.strip()}")
        else:
            current = attrs.evolve(current, output=(*current.output, line))
    if current is not None:
        yield current
