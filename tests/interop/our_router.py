"""Steps that tests of our router take with classic clients."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.interop.classic_frames import AUTH, HEART_BEAT
from tests.interop.classic_gateway import ClassicClient, ClassicGateway
from tests.interop.classic_links import Pump
from tests.interop.product import KEY

SCHEMES = pytest.mark.parametrize("scheme", ["kcp", "tls"])

MakeClient = Callable[[str], ClassicClient]
MakeGateway = Callable[..., ClassicGateway]


def logged_in(pump: Pump, made: ClassicClient) -> ClassicClient:
    made.auth(KEY)
    pump.until(lambda: made.of(AUTH), "AUTH answered")
    return made


def still_served(pump: Pump, made: ClassicClient) -> None:
    """A heartbeat comes back: the connection works, and all sent before has been processed."""
    beats = len(made.of(HEART_BEAT))
    made.send(HEART_BEAT, sequence=4711)
    pump.until(lambda: len(made.of(HEART_BEAT)) > beats, "heartbeat answered")
    assert made.of(HEART_BEAT)[-1].sequence == 4711
    assert made.of(HEART_BEAT)[-1].payload == b""


def ended(pump: Pump, made: ClassicClient, seconds: float = 8.0) -> str:
    reason: str = pump.until(lambda: made.link.closed, "connection closed", seconds)
    return reason
