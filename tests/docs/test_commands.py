"""Every command in the documentation is one that exists, and every block is followed by some test.

* Blocks of ``console`` and ``json`` in the tutorial and the how-tos are followed word for word
  (`test_pages`), and README's "Joining two sites" says nothing that these do not.
* Blocks for a shell are done where `SHELL_BLOCKS` says. Of ``podman run`` and ``ssh`` only the
  options are looked at.
* Other commands, in running text and in other pages, are held against the parsers that would read
  them, so that they exist and take such arguments. Benchmarks and the fuzzer are also run, each for
  a moment, by `test_benchmarks`. Of ``nox -s NAME`` it is only seen that there is such a session.
"""

from __future__ import annotations

import argparse
import itertools
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import polevpn_trio
from polevpn_trio import __main__ as program
from polevpn_trio.container import arguments
from polevpn_trio.control.config import load_gateway
from polevpn_trio.control.dashboard_config import DEFAULT_LISTEN

from .page import Command, fenced_blocks, read_page

ROOT = Path(polevpn_trio.__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
FOLLOWED = (ROOT / "docs/TUTORIAL.md", *sorted((ROOT / "docs/howto").glob("*.md")))
CONTAINERS = ROOT / "docs/howto/containers.md"

SYSTEMD, IMAGE = "tests/image/test_systemd.py", "tests/image/conftest.py"
SHELL_BLOCKS = {
    "./run setup": ".ci/run",
    "podman build": IMAGE,
    "podman run -d --name router": "tests/docs/test_commands.py",
    "podman run -d --name gateway": "tests/docs/test_commands.py",
    "pip install '.[dashboard]'": "tests/test_requirements.py",
    "ssh -L": "tests/docs/test_commands.py",
    "/opt/polevpn_trio/bin/pip install": "conf/Containerfile",
    "systemd-sysusers": SYSTEMD,
    "cp -r sites": SYSTEMD,
    "enable --now polevpn-trio-router": SYSTEMD,
    "keys site cloud": SYSTEMD,
    "router-site.conf": SYSTEMD,
    "polevpn-trio-gateway@berlin": SYSTEMD,
    "useradd": SYSTEMD,
    "net.core.rmem_max": SYSTEMD,
}
"""What is in a block for a shell, and where that is done."""


def all_blocks(page: Path) -> list[tuple[str, str]]:
    return fenced_blocks(page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_kind_that_is_followed(page: Path) -> None:
    for language, text in all_blocks(page):
        if language == "sh":
            assert any(known in text for known in SHELL_BLOCKS), text
        elif language == "yaml":
            assert "job_name" in text, text
        elif language != "mermaid":
            assert language in ("console", "json"), text
            assert page in FOLLOWED, text


def test_no_block_is_spoken_of_that_is_not_there() -> None:
    text = "\n".join(text for page in PAGES for kind, text in all_blocks(page) if kind == "sh")
    for known, where in SHELL_BLOCKS.items():
        assert known in text
        assert (ROOT / where).exists(), where


# --- Commands in text -----------------------------------------------------------------------


NAMED = re.compile(r"(?: {4,}|[\w-]+\$ )(?:sudo )?((?:\./run|polevpn-trio|python -m) .*)")
QUOTED = re.compile(r"`((?:\./run|polevpn-trio) [^`]+)`")
OURS = ("router", "gateway", "keys", "join", "demo")
"""What ./run hands on to polevpn-trio."""


def commands(page: Path) -> Iterator[str]:
    """Commands that a page names: in blocks that are indented or fenced, and in backticks."""
    text = page.read_text().replace("\\\n", " ")
    for line in text.splitlines():
        found = NAMED.fullmatch(line)
        if found:
            yield found[1]
    for quoted in QUOTED.findall(text):
        yield " ".join(quoted.split())


def words_of(command: str) -> list[str]:
    """The words up to a comment, a pipe, a file for the output, or the next command."""
    words = shlex.split(re.split(r"\s(?:#|\||>|&&)(?:\s|$)|; ", command)[0])
    return words[3:] if words[0] == "python" else words[1:]


class Parsed(BaseException):
    """The command line has been read, and that is all."""


def reads(run: Callable[[], object], monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    """Have a program read a command line; AssertionError if it does not take it."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self: Any, args: Any = None, namespace: Any = None) -> Any:
        parse(self, args, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", argv)
    try:
        run()
    except Parsed:
        return
    except SystemExit as ended:
        if ended.code:
            raise AssertionError(f"{argv}: status {ended.code}") from None
    finally:
        monkeypatch.undo()


def reader_of(command: str, words: list[str], usage: str) -> tuple[Callable[[], object], list[str]]:
    """What reads a command line, and the words that it is given."""
    if not command.startswith("./run") or words[0] in OURS:
        # A command that is only named has no arguments to be judged.
        given = [*words, "--help"] if len(words) == 1 else words
        return lambda: program.main(given), given
    if words[0] == "bench" and len(words) > 1 and words[1].islower():
        file = str(ROOT / f"bench/{words[1]}.py")
        return lambda: runpy.run_path(file, run_name="__main__"), [file, *words[2:]]
    if words[0] == "fuzz":
        return lambda: runpy.run_module("tests.fuzz.command", run_name="__main__"), words
    assert re.search(rf"\b{re.escape(words[0])}\b", usage), command
    return lambda: None, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_a_page_is_understood(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = subprocess.run([ROOT / "run", "help"], capture_output=True, text=True, check=True)
    for command in commands(page):
        words = words_of(command)
        if words and "..." not in words and not words[0].isupper():
            reader, argv = reader_of(command, words, run.stdout)
            reads(reader, monkeypatch, argv)


def test_readme_joins_two_sites_by_what_is_followed_elsewhere() -> None:
    text = (ROOT / "README.md").read_text()
    _, _, section = text.partition("## Joining two sites")
    section, _, _ = section.partition("## Configuration")
    section = section.replace("berlin", "office").replace("paris", "branch")
    said = {
        " ".join(line.split("#")[0].removeprefix("sudo ").split())
        for line in re.findall(r"^ {4}((?:sudo )?polevpn-trio .*)$", section, re.MULTILINE)
    }
    followed = {
        step.text.removeprefix("sudo ")
        for page in FOLLOWED
        for step in read_page(page)
        if isinstance(step, Command)
    }
    assert len(said) == 6
    assert said <= followed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sessions_of_nox_are_there(page: Path) -> None:
    sessions = set(
        re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    )
    assert set(re.findall(r"\bnox -s (\w+)", page.read_text())) <= sessions


# --- Blocks that take what not every machine has ----------------------------------------------


def block_with(page: Path, text: str) -> list[str]:
    """The words of the first command of the block that has this text."""
    [block] = [each for kind, each in all_blocks(page) if kind == "sh" and text in each]
    return shlex.split(block.replace("\\\n", " ").splitlines()[0])


def compose(role: str) -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "conf/compose.yaml").read_text())["services"][role]
    assert isinstance(found, dict)
    return found


def options(words: list[str], name: str) -> list[str]:
    return [word for before, word in itertools.pairwise(words) if before == name]


def test_a_gateway_of_the_containers_page_is_what_it_says(tmp_path: Path) -> None:
    words = block_with(CONTAINERS, "--name gateway")
    told = dict(each.split("=", 1) for each in options(words, "-e"))
    secret = tmp_path / "key"
    secret.write_text("a long secret of your own\n")
    mounts = dict(each.split(":")[:2][::-1] for each in options(words, "-v"))
    assert told["POLEVPN_KEY_FROM"] in mounts
    command = arguments({**told, "POLEVPN_KEY_FROM": str(secret)}, tmp_path)
    assert command[0] == "gateway"
    config = load_gateway(tmp_path / "gateway.json")
    assert [str(each) for each in config.site.route_networks] == ["10.8.0.0/24", "192.168.2.0/24"]
    # The rights of compose.yaml, but for those that it takes to become a user.
    service = compose("gateway")
    assert set(options(words, "--cap-add")) < set(service["cap_add"])
    assert options(words, "--device")[0] in service["devices"][0]
    assert options(words, "--network") == [service["network_mode"]]


def test_a_router_of_the_containers_page_has_ports_and_rights_as_compose_gives_them() -> None:
    words = block_with(CONTAINERS, "--name router")
    service = compose("router")
    assert options(words, "-p") == service["ports"]
    assert options(words, "-v") == service["volumes"]
    assert set(options(words, "--cap-add")) < set(service["cap_add"])


def test_ssh_leads_to_where_the_dashboard_listens() -> None:
    words = block_with(ROOT / "docs/howto/dashboard.md", "ssh -L")
    assert options(words, "-L")[0].partition(":")[2] == DEFAULT_LISTEN


def test_prometheus_is_told_of_the_job_that_alerts_ask_for() -> None:
    page = ROOT / "docs/howto/monitoring.md"
    [told] = [yaml.safe_load(text) for kind, text in all_blocks(page) if kind == "yaml"]
    [job] = told["scrape_configs"]
    alerts = (ROOT / "conf" / told["rule_files"][0]).read_text()
    assert f'job="{job["job_name"]}"' in alerts
    assert job["static_configs"][0]["targets"][0] in page.read_text().replace("http://", "")
