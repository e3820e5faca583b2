"""What a link says of its round trip where little but signs of life passes."""

from __future__ import annotations

import pytest
import trio

from polevpn_trio.frames import codec
from polevpn_trio.transport.kcp import KcpLink
from tests.transport.test_kcp import PlainSession, exchange, over_pair, packet


def test_a_path_that_got_slower_since_the_last_packet_is_known_by_its_signs_of_life() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        async def act() -> None:
            near.send_nowait([codec.build_frame(codec.C2S_IPDATA, packet(100))])
            near.flush()
            await trio.sleep(1)
            assert near.slowest_rtt == pytest.approx(0.02, rel=0.1)
            session._delay = 2.0
            near.ask()
            await trio.sleep(10)

        near.open_datagrams(codec.S2C_IPDATA, repair=True)
        far.open_datagrams(codec.C2S_IPDATA, repair=True)
        assert near.slowest_rtt is None
        await exchange(near, far, act)
        assert near.slowest_rtt == pytest.approx(2.01)
        # Packets have not been sent since.
        assert near.statistics().smoothed_rtt == pytest.approx(0.02, rel=0.1)

    over_pair(body)


def test_a_path_that_packets_find_slow_is_slow() -> None:
    async def body(near: KcpLink, far: KcpLink, session: PlainSession) -> None:
        async def act() -> None:
            near.ask()
            await trio.sleep(1)
            assert near.slowest_rtt == pytest.approx(0.02)
            session._delay = 0.1
            near.send_nowait([codec.build_frame(codec.C2S_IPDATA, packet(100))])
            near.flush()
            await trio.sleep(10)

        near.open_datagrams(codec.S2C_IPDATA, repair=True)
        far.open_datagrams(codec.C2S_IPDATA, repair=True)
        await exchange(near, far, act)
        assert near.slowest_rtt == pytest.approx(0.11, rel=0.1)

    over_pair(body)
