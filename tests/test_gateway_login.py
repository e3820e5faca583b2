"""What the gateway says to which router before it has logged in."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path

import pytest
import trio
import trio.testing

from polevpn_trio.control import known_routers
from polevpn_trio.control.log import context_of
from polevpn_trio.control.router_trust import FirstUse
from polevpn_trio.frames import codec
from tests.gateway_world import KEY, Server, World, with_gateway
from tests.memory_links import IDENTITY


def test_a_native_router_is_sent_a_proof_and_never_the_key() -> None:
    async def body(world: World) -> None:
        call = await world.registered()
        assert json.loads(call.of(codec.AUTH)[0].payload)["key"] == ""
        assert json.loads(call.of(codec.REGISTER)[0].payload)["key"] == ""
        assert not any(KEY.encode() in frame.payload for frame in call.got)

    with_gateway(body, Server(native=True))


def test_a_classic_router_is_sent_the_key_only_if_that_is_allowed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def forbidden(world: World) -> None:
        await trio.sleep(60)
        assert len(world.calls) > 3
        assert not any(KEY.encode() in frame.payload for c in world.calls for frame in c.got)
        assert not any(call.of(codec.REGISTER) for call in world.calls)
        [record] = [each for each in caplog.records if each.levelno == logging.WARNING]
        assert '"classic": true' in context_of(record)["advice"]

    with_gateway(forbidden, Server(), classic=False)

    async def allowed(world: World) -> None:
        for number in (2, 3, 4):
            call = await world.registered()
            assert json.loads(call.of(codec.AUTH)[0].payload)["key"] == KEY
            assert json.loads(call.of(codec.REGISTER)[0].payload)["key"] == KEY
            # Asked for its dialect once, not at each login.
            assert len(world.calls) == number
            call.link.close()
            await call.gateways_end.wait_closed()

    # The fallback beside it makes the gateway try the native dialect.
    with_gateway(allowed, Server(), Server(native=True, up=False))


def test_a_router_that_has_become_native_is_not_sent_the_key_again() -> None:
    async def body(world: World) -> None:
        first = await world.registered()
        assert json.loads(first.of(codec.AUTH)[0].payload)["key"] == KEY
        world.servers[0].native = True
        world.servers[0].answers[codec.AUTH] = {"native": {"version": 1, "features": []}}
        keys = []
        for _ in range(2):
            call = await world.registered()
            call.link.close()
            await call.gateways_end.wait_closed()
            call = await world.registered()
            keys.append(json.loads(call.of(codec.AUTH)[0].payload)["key"])
        assert keys == [KEY, ""]

    with_gateway(body, Server(), Server(native=True, up=False))


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"native": {"version": 1, "features": []}},
        {"native": {"version": 1, "features": [], "proof": "AAAA"}},
        {"native": {"version": 1, "features": [], "proof": base64.b64encode(bytes(32)).decode()}},
    ],
)
def test_a_router_that_cannot_prove_that_it_knows_our_key_is_left(
    answer: dict[str, object], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    class Impostor(Server):
        def judge(self, payload: bytes) -> dict[str, object]:
            return answer

    async def body(world: World) -> None:
        await trio.sleep(30)
        assert not any(call.of(codec.REGISTER) for call in world.calls)
        # An attempt may be under way at any time, for there is always a next one.
        assert len(world.calls) > 1
        await world.until(lambda: all(call.gateways_end.is_closed for call in world.calls))
        (record,) = (each for each in caplog.records if "does not know our key" in each.message)
        assert record.levelno == logging.ERROR
        assert not (tmp_path / "known").exists()

    with_gateway(body, Impostor(), classic=False, trust=FirstUse(tmp_path / "known"))


def test_a_router_with_another_key_refuses_us_and_is_not_taken_for_a_classic_one() -> None:
    async def body(world: World) -> None:
        await trio.sleep(30)
        assert world.calls
        assert not any(KEY.encode() in frame.payload for c in world.calls for frame in c.got)

    refusal: dict[str, object] = {"error": "wrong key", "native": {"version": 1, "features": []}}
    with_gateway(body, Server(native=True, answers={codec.AUTH: refusal}))


def test_a_router_is_remembered_once_it_has_taken_our_login(tmp_path: Path) -> None:
    known = tmp_path / "known"

    async def body(world: World) -> None:
        await world.registered()
        (entry,) = known_routers.read(known)
        assert entry.url == "kcp://192.0.2.1:443"
        assert entry.fingerprint == IDENTITY.router_certificate

    refusing = Server(answers={codec.AUTH: {"error": "no"}})
    with_gateway(body, refusing, Server(), trust=FirstUse(known))


def test_a_router_that_is_not_the_right_one_is_a_loud_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(world: World) -> None:
        await trio.sleep(30)
        assert not world.calls
        (record,) = (each for each in caplog.records if "CHANGED" in each.getMessage())
        assert record.levelno == logging.ERROR

    with_gateway(body, Server(untrusted="THE CERTIFICATE HAS CHANGED"))
