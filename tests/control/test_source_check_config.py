"""Where a configuration says whose sources are checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polevpn_trio.control.config import load_router
from tests.control.test_site_directory import SITE, folder, mistakes, router, sites

__all__ = ["folder"]


def test_sources_are_checked_unless_a_file_says_otherwise(folder: Path) -> None:
    others = {"addresses": ["10.8.0.3"], "source_check": False}
    file = router(folder, gateways={"berlin": SITE, "oslo": {**SITE, **others}})
    assert load_router(file).source_check
    assert {name: site.source_check for name, site in sites(file).items()} == {
        "berlin": True,
        "oslo": False,
    }
    assert not load_router(router(folder, key="a long secret", source_check=False)).source_check


def test_what_is_neither_true_nor_false_is_named(folder: Path) -> None:
    site: dict[str, Any] = {**SITE, "source_check": "loose"}
    assert mistakes(router(folder, gateways={"berlin": site}, source_check=1)) == [
        "router.json: gateways.berlin.source_check: a string, expected true or false",
        "router.json: source_check: a number, expected true or false",
    ]
