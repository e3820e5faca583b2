"""Every page that leads somewhere is followed as it is written, by real programs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import polevpn_trio
from polevpn_trio.lab.namespaces import Lab

from .machines import Machines
from .page import Command, File, read_page

DOCS = Path(polevpn_trio.__file__).parents[1] / "docs"
TUTORIAL = DOCS / "TUTORIAL.md"
PAGES = (TUTORIAL, *sorted((DOCS / "howto").glob("*.md")))
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


@pytest.fixture
def machines() -> Iterator[Machines]:
    with Lab() as lab:
        yield Machines(lab)


@pytest.mark.needs_root_lab
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_works_as_it_is_written(page: Path, machines: Machines) -> None:
    steps = read_page(page)
    if page is not TUTORIAL:
        steps = router_without_sites() + steps
    for step in steps:
        if isinstance(step, File):
            machines.write(step)
        else:
            machines.give(step)
    machines.check_running()


def router_without_sites() -> list[File | Command]:
    """What the other pages begin with: the tutorial's router, before it knows any site."""

    def is_about_sites(step: File | Command) -> bool:
        return isinstance(step, Command) and "keys site" in step.text

    steps = [step for step in read_page(TUTORIAL) if step.machine == "router"]
    return list(itertools.takewhile(lambda step: not is_about_sites(step), steps))


@pytest.mark.parametrize(
    "page", [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name
)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
