"""Makes the independent classic peer importable, and gives the loop that turns its parts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.interop.classic_gateway import ClassicGateway
    from tests.interop.classic_links import Pump
    from tests.interop.our_router import MakeClient, MakeGateway
    from tests.interop.product import RouterProcess

sys.path.insert(0, str(Path(__file__).parent.parent.parent))


@pytest.fixture
def pump() -> Iterator[Pump]:
    """The loop that steps the peers of a test, and closes them when it ends."""
    from tests.interop.classic_links import Pump

    pump = Pump()
    yield pump
    pump.close()


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterProcess]:
    """One router for a whole file: every test leaves it as it found it."""
    from tests.interop.product import RouterProcess

    process = RouterProcess(tmp_path_factory.mktemp("router"))
    yield process
    status = process.stop()
    assert (status, process.complaints()) == (0, [])


@pytest.fixture
def client(pump: Pump, router: RouterProcess) -> MakeClient:
    from tests.interop.classic_gateway import ClassicClient

    return lambda scheme: pump.add(ClassicClient.connect(scheme, router.address))


@pytest.fixture
def gateway(pump: Pump, router: RouterProcess) -> MakeGateway:
    from tests.interop.classic_gateway import ClassicGateway
    from tests.interop.classic_links import connect
    from tests.interop.product import KEY

    def make(scheme: str, own: str, networks: list[str] | None = None) -> ClassicGateway:
        made = pump.add(
            ClassicGateway(
                lambda: connect(scheme, router.address), key=KEY, gateway=own, networks=networks
            )
        )
        pump.until(lambda: made.registered or made.died, f"{own} registered")
        assert made.died is None
        return made

    return make
