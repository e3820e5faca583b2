"""Steps that tests of our router take with classic clients."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.interop.classic_frames import AUTH, HEART_BEAT
from tests.interop.classic_gateway import ClassicClient, ClassicGateway
from tests.interop.classic_links import Pump
from tests.interop.product import KEY, RouterProcess

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


class Counted:
    """Waits for packets of which the router says how many it did not send.

    Where a machine stands still for a while it drops some that waited too long (RFC 8289).
    """

    QUIET = 0.5

    def __init__(self, pump: Pump, router: RouterProcess, made: ClassicGateway, own: str) -> None:
        self._pump, self._router, self._made, self._own = pump, router, made, own
        self._seen, self._since = -1, 0.0

    def wait(self, count: int, seconds: float = 8.0) -> None:
        self._pump.until(lambda: self._are_all_there(count), f"{count} packets", seconds)

    def _are_all_there(self, count: int) -> bool:
        came, now = len(self._made.packets), time.monotonic()
        if came != self._seen:
            self._seen, self._since = came, now
        elif now - self._since > self.QUIET:
            self._since = now
            return came + self._router.dropped(self._own) == count
        return came >= count

    def check(self, sent: list[bytes], flow: Callable[[bytes], bytes] = lambda _: b"") -> None:
        """All but what was dropped came, as it was sent, once, in order within each flow."""
        came = sorted(self._made.packets, key=flow)
        rest = iter(sorted(sent, key=flow))
        assert all(packet in rest for packet in came)
        assert len(came) + self._router.dropped(self._own) == len(sent)
        assert len(came) > len(sent) // 2
