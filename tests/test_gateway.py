"""The gateway's logic over links in memory, in virtual time."""

from __future__ import annotations

import json
import logging

import pytest
import trio
import trio.testing

from polevpn_trio.control.liveness import HEART_BEAT_SECONDS
from polevpn_trio.frames import codec
from polevpn_trio.gateway import REGISTER_SECONDS
from tests.gateway_world import KEY, PACKET, Call, Server, World, with_gateway
from tests.memory_links import Frame, MemoryLink, ipv4, ipv6
from tests.tun.super_packets import Headers, bend, make_packet, make_super_packet, pieces


def test_logs_in_registers_beats_and_carries_packets_both_ways() -> None:
    async def body(world: World) -> None:
        call = await world.registered()
        (login,), (registration,) = call.of(codec.AUTH), call.of(codec.REGISTER)
        assert json.loads(login.payload)["key"] == KEY
        assert json.loads(registration.payload) == {
            "gateway": "10.8.0.2",
            "gateway6": "fd00::2",
            "key": KEY,
            "network": ["192.168.1.0/24"],
        }
        world.send(PACKET)
        await call.send(ipv4("10.9.0.1", "192.168.1.5"))
        await trio.sleep(35)
        assert [frame.payload for frame in call.of(codec.C2S_IPDATA)] == [PACKET]
        assert world.device.to_host == [ipv4("10.9.0.1", "192.168.1.5")]
        assert len(call.of(codec.HEART_BEAT)) >= 4
        assert all(frame.sequence == 0 for frame in call.got)
        assert len(world.calls) == 1

    with_gateway(body, Server())


@pytest.mark.parametrize("features", [("ipv6", "probe"), ("ipv6",)], ids=["probe", "no probe"])
def test_a_router_that_has_probes_is_asked_in_place_of_sent_heartbeats(
    features: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(world: World) -> None:
        call = await world.registered()
        await trio.sleep(35)
        asked, beats = call.gateways_end.asked, len(call.of(codec.HEART_BEAT))
        assert (asked, beats) == ((4, 0) if "probe" in features else (0, 4))
        # Whoever does not answer is left, however it was asked.
        call.gateways_end.silent = True
        await world.until(lambda: len(world.calls) == 2)

    monkeypatch.setattr(MemoryLink, "carries_datagrams", True)
    with_gateway(body, Server(native=True, features=features))


def test_packets_of_sources_not_in_acls_do_not_reach_the_site() -> None:
    async def body(world: World) -> None:
        call = await world.registered()
        good = ipv4("10.9.7.7", "192.168.1.5")
        await call.send(ipv4("10.10.0.1", "192.168.1.5"), good, ipv6(1, 2))
        await trio.sleep(1)
        assert world.device.to_host == [good]
        assert world.site.statistics().not_in_acls == 2

    with_gateway(body, Server())


@pytest.mark.parametrize("native", [False, True])
def test_ipv6_goes_only_to_routers_that_know_it(native: bool) -> None:
    async def body(world: World) -> None:
        call = await world.registered()
        world.send(ipv6(1, 2))
        world.send(PACKET)
        await trio.sleep(1)
        expected = [ipv6(1, 2), PACKET] if native else [PACKET]
        assert [frame.payload for frame in call.of(codec.C2S_IPDATA)] == expected

    with_gateway(body, Server(native=native))


WHOLE = Headers(version=4)
SUPER_PACKET = make_super_packet(WHOLE, bytes(300), 100)
WHOLE_PACKET = make_packet(WHOLE, bytes(300), partial=True)
# From a source that the site lets in.
ADMITTED = bend(WHOLE_PACKET, 12, 10, 9, 0, 1)


def data_of(call: Call) -> list[tuple[bytes, int]]:
    return [(frame.payload, frame.sequence) for frame in call.of(codec.C2S_IPDATA)]


@pytest.mark.parametrize("features", [("gso",), ("gso", "ipv6"), ("ipv6",), ()])
def test_super_packets_stay_whole_only_for_routers_that_know_them(
    features: tuple[str, ...],
) -> None:
    async def body(world: World) -> None:
        call = await world.registered()
        await trio.sleep(0.1)
        world.send(SUPER_PACKET)
        world.send(make_super_packet(Headers(version=6), bytes(300), 100))
        await trio.sleep(1)
        if "gso" in features:
            expected = [(WHOLE_PACKET, 100)]
        else:
            expected = [(packet, 0) for packet in pieces(WHOLE, bytes(300), 100)]
        sent = data_of(call)
        assert sent[: len(expected)] == expected
        assert bool(sent[len(expected) :]) is ("ipv6" in features)

    with_gateway(body, Server(native=True, features=features))


def test_what_waits_whole_is_cut_for_a_successor_that_does_not_know_super_packets() -> None:
    async def body(world: World) -> None:
        first = await world.registered()
        await trio.sleep(0.1)
        # Its sender is stuck with the first one, the others wait.
        first.gateways_end.taking = trio.Event()
        for _ in range(4):
            world.send(SUPER_PACKET)
        first.server.answers[codec.AUTH] = {"native": {"version": 1, "features": []}}
        await world.until(lambda: len(world.calls) == 2)
        await world.registered()
        await trio.sleep(1)
        world.send(SUPER_PACKET)
        await trio.sleep(1)
        sent = data_of(world.calls[1])
        cut = [(packet, 0) for packet in pieces(WHOLE, bytes(300), 100)]
        assert len(sent) >= 2 * len(cut)
        assert sent == cut * (len(sent) // 3)

    with_gateway(body, Server(native=True, features=("gso", "ipv6")))


@pytest.mark.parametrize("native", [False, True])
def test_sequences_of_a_router_without_super_packets_mean_nothing(native: bool) -> None:
    async def body(world: World) -> None:
        call = await world.registered()
        frame = codec.build_frame(codec.S2C_IPDATA, ADMITTED, 100)
        await call.link.send_batch([frame])
        await trio.sleep(1)
        assert world.device.frames_to_host == [Frame(codec.S2C_IPDATA, 0, ADMITTED)]

    with_gateway(body, Server(native=native))


def test_super_packets_of_the_router_reach_the_device_whole_and_bad_ones_do_not() -> None:
    async def body(world: World) -> None:
        call = await world.registered()
        for sequence in (100, 300, 0x10064):
            frame = codec.build_frame(codec.S2C_IPDATA, ADMITTED, sequence)
            await call.link.send_batch([frame])
        await trio.sleep(1)
        assert world.device.frames_to_host == [Frame(codec.S2C_IPDATA, 100, ADMITTED)]

    with_gateway(body, Server(native=True, features=("gso",)))


def test_nothing_is_sent_before_the_registration_is_answered() -> None:
    async def body(world: World) -> None:
        await world.until(lambda: world.calls and world.calls[0].of(codec.REGISTER))
        world.send(PACKET)
        await trio.sleep(1)
        assert world.calls[0].of(codec.C2S_IPDATA) == []
        await world.calls[0].control(codec.REGISTER)
        await trio.sleep(0.1)
        assert len(world.calls[0].of(codec.C2S_IPDATA)) == 1

    server = Server()
    del server.answers[codec.REGISTER]
    with_gateway(body, server)


def test_a_registration_without_answer_ends_the_connection() -> None:
    async def body(world: World) -> None:
        await world.until(lambda: world.calls and world.calls[0].of(codec.REGISTER))
        first = world.calls[0]
        took = await world.until(lambda: first.gateways_end.is_closed)
        assert took == pytest.approx(REGISTER_SECONDS, abs=0.2)
        first.server.answers[codec.REGISTER] = {}
        await world.registered(2)
        assert len(first.of(codec.REGISTER)) == 1

    server = Server()
    del server.answers[codec.REGISTER]
    with_gateway(body, server)


def test_a_refused_login_is_tried_again_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        await trio.sleep(60)
        assert len(world.calls) > 10
        world.servers[0].answers[codec.AUTH] = {}
        await world.registered(10)

    with caplog.at_level(logging.INFO):
        with_gateway(body, Server(answers={codec.AUTH: {"error": "invalid key" + "!" * 50_000}}))
    complaints = [each for each in caplog.messages if "refused our login: invalid key" in each]
    assert len(complaints) == 1
    assert len(complaints[0]) < 400
    assert KEY not in caplog.text


def test_attempts_become_rare_in_a_long_outage_and_do_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(world: World) -> None:
        await trio.sleep(10 * 3600)
        attempts = world.servers[0].attempts
        assert attempts[1] - attempts[0] < 1
        assert 15 < attempts[-1] - attempts[-2] <= 31
        assert len(attempts) < 3000

    with caplog.at_level(logging.INFO):
        with_gateway(body, Server(up=False))
    assert len(caplog.messages) < 5


def test_client_closed_makes_it_reconnect() -> None:
    async def body(world: World) -> None:
        first = await world.registered()
        await trio.sleep(20)
        await first.control(codec.CLIENT_CLOSED)
        await world.until(lambda: first.gateways_end.is_closed, 1)
        assert await world.registered(1) is not first

    with_gateway(body, Server())


def test_a_link_lost_at_once_again_and_again_is_no_busy_loop() -> None:
    """As when two gateways are configured with the same address."""

    async def body(world: World) -> None:
        async def throw_out() -> None:
            while True:
                call = await world.registered()
                call.link.close()
                await world.until(lambda ended=call.gateways_end: ended.is_closed)  # type: ignore[misc]

        world.nursery.start_soon(throw_out)
        await trio.sleep(120)
        assert 20 < len(world.calls) < 130

    with_gateway(body, Server())


def test_reconnects_at_once_when_a_good_link_ends() -> None:
    async def body(world: World) -> None:
        first = await world.registered()
        await trio.sleep(30)
        first.link.close()
        await trio.sleep(0.2)
        assert await world.registered(0.1) is not first

    with_gateway(body, Server())


def test_packets_without_a_link_are_dropped_counted_and_not_sent_late() -> None:
    async def body(world: World) -> None:
        first = await world.registered()
        await trio.sleep(30)
        first.server.up = False
        first.gateways_end.taking = trio.Event()
        for _ in range(30):
            world.send(PACKET)
        await trio.sleep(0.1)
        first.link.close()
        await trio.sleep(5)
        for _ in range(7):
            world.send(PACKET)
        await trio.sleep(1)
        assert world.device._read.statistics().current_buffer_used == 0
        first.server.up = True
        second = await world.registered(10)
        fresh = ipv4("192.168.1.9", "10.9.0.9")
        world.send(fresh)
        await trio.sleep(1)
        assert [frame.payload for frame in second.of(codec.C2S_IPDATA)] == [fresh]
        assert world.gateway._no_link == 37

    with_gateway(body, Server())


def test_falls_back_in_order_and_returns_to_the_better_server() -> None:
    async def body(world: World) -> None:
        best, fallback, last = world.servers
        call = await world.registered()
        assert call.server is fallback
        assert not last.attempts
        await trio.sleep(30)
        best.up = True
        await world.until(lambda: best.calls and best.calls[-1].registered, 61)
        assert call.gateways_end.is_closed
        assert not last.attempts
        # Where it is best there is nothing to return to.
        attempts = len(best.attempts)
        await trio.sleep(600)
        assert len(best.attempts) == attempts

    with_gateway(body, Server(up=False), Server("tls"), Server("wss"))


def test_moving_to_a_better_server_loses_no_packet_that_waits() -> None:
    async def body(world: World) -> None:
        best, fallback = world.servers
        call = await world.registered()
        assert call.server is fallback
        call.gateways_end.taking = trio.Event()
        waiting = [ipv4("192.168.1.5", "10.9.0.1", 50 + number) for number in range(5)]
        for packet in waiting:
            world.send(packet)
        best.up = True
        better = await world.until(lambda: best.calls and best.calls[-1].registered)
        assert better < 20
        await trio.sleep(1)
        assert [each.payload for each in best.calls[-1].of(codec.C2S_IPDATA)] == waiting

    with_gateway(body, Server(up=False), Server("tls"))


def silence(call: Call) -> None:
    """The router is gone without a word, as when it was killed."""
    call.link.silent = call.gateways_end.silent = True


def test_a_silent_link_in_use_is_replaced_within_two_seconds() -> None:
    async def body(world: World) -> None:
        first = await world.registered()
        world.nursery.start_soon(world.keep_sending)
        await trio.sleep(15)
        silence(first)
        await world.until(lambda: len(world.calls) > 1, 2)
        second = world.calls[1]
        await world.until(lambda: second.registered, 0.5)
        assert first.gateways_end.is_closed
        await trio.sleep(5)
        assert len(second.of(codec.C2S_IPDATA)) > 50
        assert len(world.calls) == 2

    with_gateway(body, Server())


def test_a_link_has_four_times_what_its_slowest_way_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World) -> None:
        first = await world.registered()
        world.nursery.start_soon(world.keep_sending)
        await trio.sleep(15)
        silence(first)
        await trio.sleep(7)
        assert len(world.calls) == 1
        await world.until(lambda: len(world.calls) > 1, 5)

    monkeypatch.setattr(MemoryLink, "slowest_rtt", 2.0)
    with_gateway(body, Server())


@pytest.mark.parametrize("scheme", ["kcp", "tls"])
def test_a_link_that_takes_nothing_any_more_is_noticed_too(scheme: str) -> None:
    """The sender waits in the link then, and so does the heartbeat."""

    async def body(world: World) -> None:
        first = await world.registered()
        await trio.sleep(15)
        world.nursery.start_soon(world.keep_sending)
        silence(first)
        first.gateways_end.taking = trio.Event()
        await world.until(lambda: len(world.calls) > 1 and world.calls[1].registered, 12)
        await trio.sleep(1)
        assert len(world.calls[1].of(codec.C2S_IPDATA)) > 5

    with_gateway(body, Server(scheme))


def test_a_link_that_takes_nothing_is_given_up_without_any_other() -> None:
    async def body(world: World) -> None:
        first = await world.registered()
        await trio.sleep(15)
        world.servers[0].up = False
        silence(first)
        first.gateways_end.taking = trio.Event()
        assert await world.until(lambda: first.gateways_end.is_closed) < 36

    with_gateway(body, Server("tls"))


def test_a_link_that_speaks_again_wins_over_its_successor() -> None:
    async def body(world: World) -> None:
        first = await world.registered()
        world.nursery.start_soon(world.keep_sending)
        await trio.sleep(15)
        del world.servers[0].answers[codec.AUTH]
        silence(first)
        await world.until(lambda: len(world.calls) > 1, 3)
        first.link.silent = first.gateways_end.silent = False
        await first.control(codec.HEART_BEAT)
        await trio.sleep(0.1)
        await world.calls[1].control(codec.AUTH)
        await trio.sleep(5)
        assert first.registered
        assert world.calls[1].gateways_end.is_closed
        assert not world.calls[1].of(codec.REGISTER)
        assert len(world.calls) == 2

    with_gateway(body, Server())


def test_a_path_that_loses_much_neither_floods_the_log_nor_the_router(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(world: World) -> None:
        first = await world.registered()
        world.nursery.start_soon(world.keep_sending)
        await trio.sleep(1)
        del world.servers[0].answers[codec.AUTH]
        for _ in range(60):
            first.link.silent = True
            await trio.sleep(4)
            first.link.silent = False
            await first.control(codec.HEART_BEAT)
            await trio.sleep(1)
        assert first.registered
        assert len(world.calls) < 30

    with caplog.at_level(logging.INFO):
        with_gateway(body, Server())
    assert len([each for each in caplog.messages if "fallen silent" in each]) == 1


def test_two_ways_found_at_once_leave_one_link() -> None:
    async def body(world: World) -> None:
        best, fallback = world.servers
        first = await world.registered()
        assert first.server is fallback
        world.nursery.start_soon(world.keep_sending)
        # Just before the attempt to return, the link falls silent.
        await trio.sleep(3.3)
        silence(first)
        best.up = True
        await world.until(lambda: best.calls and best.calls[-1].registered, 10)
        await trio.sleep(5)
        assert len([call for call in world.calls if not call.gateways_end.is_closed]) == 1

    with_gateway(body, Server(up=False), Server("tls"))


def test_beats_at_least_every_ten_seconds_under_load() -> None:
    async def body(world: World) -> None:
        call = await world.registered()
        world.nursery.start_soon(world.keep_sending)
        beats = 0
        for _ in range(10):
            await trio.sleep(HEART_BEAT_SECONDS + 0.1)
            assert len(call.of(codec.HEART_BEAT)) > beats
            beats = len(call.of(codec.HEART_BEAT))

    with_gateway(body, Server())


def test_data_before_the_answer_to_the_login_is_refused() -> None:
    async def body(world: World) -> None:
        await world.until(lambda: world.calls)
        await world.calls[0].send(PACKET)
        await world.until(lambda: world.calls[0].gateways_end.is_closed, 1)

    server = Server()
    del server.answers[codec.AUTH]
    with_gateway(body, server)


def test_a_router_that_does_not_answer_the_login_is_left() -> None:
    async def body(world: World) -> None:
        await world.until(lambda: world.calls)
        assert await world.until(lambda: world.calls[0].gateways_end.is_closed) < 5.1
        assert await world.registered() in world.servers[1].calls

    mute = Server()
    del mute.answers[codec.AUTH]
    with_gateway(body, mute, Server("tls"))
