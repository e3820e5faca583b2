"""A machine of a site, for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from polevpn_trio.lab.namespaces import Host, Lab

from .machines import site_machine


@pytest.fixture(scope="module")
def machine(lab_obstacle: str | None) -> Iterator[Host]:
    if lab_obstacle:
        pytest.skip(lab_obstacle)
    with Lab() as lab:
        yield site_machine(lab)
