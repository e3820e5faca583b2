"""What releases install, pinned in conf/requirements.txt."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import polevpn_trio

ROOT = Path(polevpn_trio.__file__).parents[1]
PINNED = re.compile(r"^([\w.-]+)==([\w.]+)((?: ; [^\\]*)?) \\$", re.MULTILINE)


def test_every_dependency_is_pinned_to_a_version_that_is_allowed() -> None:
    pinned = {
        canonicalize_name(name): version
        for name, version, _ in PINNED.findall((ROOT / "conf/requirements.txt").read_text())
    }
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dashboard"]]
    for requirement in map(Requirement, wanted):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name}: make it anew with `nox -s lock`"
        assert requirement.specifier.contains(version), f"{requirement}: {version} is pinned"


def test_every_pin_has_a_hash_and_no_line_names_an_index() -> None:
    text = (ROOT / "conf/requirements.txt").read_text()
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert all(PINNED.match(block) and "--hash=sha256:" in block for block in blocks)
    assert "://" not in text
