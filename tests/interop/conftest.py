"""Makes the independent classic peer importable, and gives the loop that turns its parts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.interop.classic_links import Pump

sys.path.insert(0, str(Path(__file__).parent.parent.parent))


@pytest.fixture
def pump() -> Iterator[Pump]:
    """The loop that steps the peers of a test, and closes them when it ends."""
    from tests.interop.classic_links import Pump

    pump = Pump()
    yield pump
    pump.close()
