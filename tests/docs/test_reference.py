"""The reference names all that there is and nothing else: keys, defaults, the API, commands.

What the page about the command line says of a command is what its ``--help`` says.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import polevpn_trio
from polevpn_trio.__main__ import _parser
from polevpn_trio.commands.top_screen import HELP
from polevpn_trio.control import (
    config,
    control_config,
    dashboard_config,
    limits,
    policy_config,
    site_directory,
    web,
)
from polevpn_trio.control.changes import GATEWAY_KEYS, ROUTER_KEYS, Effect, Key
from polevpn_trio.lab import demo
from polevpn_trio.management import answers
from polevpn_trio.management.events import Event
from polevpn_trio.management.server import ControlServer
from polevpn_trio.nursery_tree import NodeSnapshot
from tests.conftest import Certificates

ROOT = Path(polevpn_trio.__file__).parents[1]
README = (ROOT / "README.md").read_text()
API = (ROOT / "docs/API.md").read_text()
CLI = (ROOT / "docs/CLI.md").read_text()

CODE = re.compile(r"`([^`]+)`")


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table that follows a text."""
    _, found, rest = page.partition(heading)
    assert found, heading
    lines = rest.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[begin:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table[2:]


def keys(page: str, heading: str) -> set[str]:
    """The names in the first column of a table."""
    return {name for row in rows(page, heading) for name in CODE.findall(row[0])}


def section(page: str, heading: str) -> str:
    """What stands below a heading, up to the next one."""
    return re.split(r"^## ", page.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]


# --- Configuration


@pytest.mark.parametrize(
    ("heading", "known"),
    [
        ("Router:", {*config._ROUTER_KEYS, *(f"tls.{name}" for name in web.WEB_KEYS)}),
        ("Gateway:", set(config._GATEWAY_KEYS)),
        ("Each stands there under", set(site_directory.SITE_KEYS)),
        ("bounds how many flows are remembered", set(policy_config._RULE_KEYS)),
    ],
)
def test_the_readme_has_a_line_for_each_key(heading: str, known: set[str]) -> None:
    assert keys(README, heading) == known


def test_sections_name_their_keys() -> None:
    lines = {name: row for row in rows(README, "Gateway:") for name in CODE.findall(row[0])}
    lines |= {name: row for row in rows(README, "Router:") for name in CODE.findall(row[0])}
    assert set(CODE.findall(lines["kcp"][2])) >= set(config._LISTENER_KEYS)
    gateway = {name: row for row in rows(README, "Gateway:") for name in CODE.findall(row[0])}
    assert set(CODE.findall(gateway["kcp_options"][2])) == set(config._KCP_KEYS)
    assert set(CODE.findall(gateway["control"][2])) >= set(control_config.KEYS)
    assert keys((ROOT / "docs/howto/dashboard.md").read_text(), "## Keys") == set(
        dashboard_config.KEYS
    )
    assert keys((ROOT / "docs/SECURITY.md").read_text(), "## Limits") == set(limits.KEYS)


def defaults(heading: str) -> dict[str, str]:
    """Defaults that are a number, or true or false, by key."""
    return {
        name: row[1]
        for row in rows(README, heading)
        for name in CODE.findall(row[0])
        if re.fullmatch(r"[0-9.]+|true|false", row[1])
    }


def test_defaults_are_what_the_readme_says(tmp_path: Path, certificates: Certificates) -> None:
    pair = certificates.ecdsa
    shown = f'{{"listen": ":443", "cert_file": "{pair.cert_file}", "key_file": "{pair.key_file}"}}'
    router = config.parse_router(tmp_path / "a", f'{{"kcp": {shown}, "key": "{"k" * 32}"}}')
    gateway = config.parse_gateway(
        tmp_path / "b",
        f'{{"route_server": "kcp://192.0.2.1", "key": "{"k" * 32}", "gateway": "10.8.0.2"}}',
    )
    parts: list[tuple[str, tuple[Any, ...]]] = [
        ("Router:", (router,)),
        ("Gateway:", (gateway, gateway.site)),
    ]
    for heading, objects in parts:
        told = defaults(heading)
        assert len(told) >= 5
        for name, text in told.items():
            [value] = [getattr(each, name) for each in objects if hasattr(each, name)]
            expected = text == "true" if text in ("true", "false") else float(text)
            assert value == expected, f"{heading} {name}"


COLUMNS = {
    "at once": Effect.AT_ONCE,
    "for connections to come": Effect.LATER,
    "by a new link": Effect.NEW_LINK,
    "after a restart": Effect.RESTART,
}


@pytest.mark.parametrize(
    ("heading", "known"), [("\nRouter:\n", ROUTER_KEYS), ("\nGateway:\n", GATEWAY_KEYS)]
)
def test_what_a_reload_changes_when_is_what_the_page_says(
    heading: str, known: tuple[Key, ...]
) -> None:
    page = (ROOT / "docs/RELOAD.md").read_text()
    _, _, rest = page.partition(heading)
    titles = [cell.strip() for cell in rest.strip().splitlines()[0].strip("|").split("|")]
    [row] = rows(page, heading)
    for title, cell in zip(titles, row, strict=True):
        told = set(CODE.findall(cell)) - {"site"}
        meant = [key for key in known if key.effect is COLUMNS[title]]
        for key in meant:
            if key.names[0].split(".")[0] == "site" and key.effect is Effect.RESTART:
                # "The rest of `site`."
                assert "`site`" in cell
                continue
            assert any(
                {name, name.split(".")[0], name.split(".")[-1]} & told for name in key.names
            ), key.names
        names = {part for key in meant for name in key.names for part in (name, *name.split("."))}
        assert told <= names, title


# --- The API


def test_each_method_has_a_section() -> None:
    methods = ControlServer(None, None)._methods  # type: ignore[arg-type]
    asked = API.partition("\n## Requests and answers\n")[2]
    assert re.findall(r"^## (\w+)$", asked, re.MULTILINE) == sorted(
        methods, key=("status", "routes", "explain", "events", "reload", "confirm", "tree").index
    )


MEMBERS = [
    ("status", answers.Status),
    ("status", answers.SiteStatus),
    ("status", answers.ConnectionInfo),
    ("status", answers.Measured),
    ("status", answers.Loss),
    ("status", answers.Path),
    ("status", answers.Repair),
    ("status", answers.Rates),
    ("status", answers.ServerStatus),
    ("status", answers.CertificateStatus),
    ("status", answers.PolicyStatus),
    ("status", answers.RuleStatus),
    ("status", answers.Trouble),
    ("routes", answers.Routes),
    ("routes", answers.RouteEntry),
    ("explain", answers.Explanation),
    ("explain", answers.Step),
    ("explain", answers.Alternative),
    ("events", Event),
    ("reload", answers.Reloaded),
    ("reload", answers.AppliedChange),
    ("tree", NodeSnapshot),
]


@pytest.mark.parametrize(("method", "answer"), MEMBERS, ids=lambda value: str(value))
def test_each_member_of_an_answer_is_documented(method: str, answer: Any) -> None:
    text = section(API, method)
    told = {part for name in CODE.findall(text) for part in re.findall(r"\w+", name)}
    assert {field.name for field in attrs.fields(answer)} <= told


# --- The command line


def parsers(
    parser: argparse.ArgumentParser, prefix: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield f"{prefix}{name}", below
                yield from parsers(below, f"{prefix}{name} ")


COMMANDS = {**dict(parsers(_parser())), "demo": demo._parser()}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_names_each_command(command: str) -> None:
    assert re.search(rf"(?:`|polevpn-trio |\./run ){command}\b", README)


def arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """What is typed, and what it means."""
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or isinstance(
            action, argparse._HelpAction | argparse._SubParsersAction
        ):
            continue
        value = (
            str(action.metavar or "")
            or (action.choices and f"{{{','.join(action.choices)}}}")
            or ""
        )
        if action.option_strings and action.nargs != 0:
            value = value or action.dest.upper()
        typed = f"{action.option_strings[-1]} {value}" if action.option_strings else value
        yield typed.strip(), (action.help or "") % {**vars(action), "prog": parser.prog}


def in_one_line(text: str) -> str:
    return " ".join(text.replace("`", "").split())


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_says_of_a_command_what_its_help_says(command: str) -> None:
    text, parser = section(CLI, command), COMMANDS[command]
    told = {}
    if "| argument |" in text:
        # A bar within a cell is escaped.
        table = rows(text.replace("\\|", "¦"), "\n")
        told = {CODE.findall(name)[-1].replace("¦", "|"): meaning for name, meaning in table}
    assert told == dict(arguments(parser))
    for code, meaning in re.findall(r"^ {2}(\d) {2}(.+)$", parser.epilog or "", re.MULTILINE):
        assert in_one_line(f"* {code}: {meaning}") in in_one_line(text)
    for example in re.findall(r"^ {2}((?:sudo )?polevpn-trio .+)$", parser.epilog or "", re.M):
        assert f"    {example}\n" in text


def test_the_page_names_each_command_and_nothing_else() -> None:
    assert re.findall(r"^## (.+)$", CLI, re.MULTILINE) == list(COMMANDS)
    assert [row[0].partition("]")[0][1:] for row in rows(CLI, "# The command line")] == [
        name for name in COMMANDS if " " not in name
    ]
    assert [(keys, text) for keys, text in rows(section(CLI, "top"), "--every SECONDS`")] == list(
        HELP
    )
