"""A site's end of the tunnel, with a device in memory."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

import pytest
import trio
import trio.testing

from polevpn_trio.batch import FrameBatch
from polevpn_trio.control.config import SiteConfig
from polevpn_trio.errors import HostError
from polevpn_trio.frames import codec
from polevpn_trio.site import WRITER_BATCHES, Site, SourceList
from tests.memory_links import frames, ipv4, ipv6, split


class StallingDevice:
    """A device that writes only what the test lets it, or fails."""

    def __init__(self) -> None:
        self.writable = trio.Event()
        self.written: list[bytes] = []
        self.deleted = False
        self.rest = b""
        self.name = ""

    async def write_batch(self, data: Any) -> None:
        await self.writable.wait()
        assert self.write_batch_nowait(data)

    def write_batch_nowait(self, data: Any) -> bool:
        if self.deleted:
            raise HostError("cannot write to tun7: the interface was deleted")
        self.rest += bytes(data)
        if self.writable.is_set():
            self.written += [frame.payload for frame in split(self.rest)]
            self.rest = b""
        return not self.rest

    def statistics(self) -> str:
        return "the device's own"


def make(*acls: Any) -> tuple[Site, StallingDevice]:
    device: Any = StallingDevice()
    config = SiteConfig(gateway=IPv4Address("10.8.0.2"), acls=acls)
    return Site(config, device, None), device  # type: ignore[arg-type]  # changes no network


def batch(*packets: bytes) -> FrameBatch:
    return FrameBatch(frames(codec.S2C_IPDATA, *packets), len(packets))


def test_without_acls_everybody_may_send_with_them_only_the_listed() -> None:
    open_list = SourceList(SiteConfig())
    assert not open_list.restricts
    assert open_list.allows(b"\x0a\0\0\1")
    listed = SourceList(SiteConfig(acls=(IPv4Network("10.0.0.0/8"), IPv6Network("fd00::/16"))))
    assert listed.restricts
    assert listed.allows(bytes([10, 1, 2, 3]))
    assert not listed.allows(bytes([11, 1, 2, 3]))
    assert listed.allows(b"\xfd" + bytes(15))
    assert not listed.allows(bytes(16))


def test_the_link_waits_for_a_stalled_writer_and_loses_nothing() -> None:
    async def main() -> None:
        site, device = make()
        packets = [ipv4("10.9.0.1", "10.8.0.2", 40 + number) for number in range(200)]

        async def deliver() -> None:
            reader = site.reader()
            for packet in packets:
                data = frames(codec.S2C_IPDATA, packet)
                for run in reader.receive_data_untrusted(data):
                    await site.deliver(run)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.write)
            nursery.start_soon(deliver)
            await trio.testing.wait_all_tasks_blocked()
            assert device.written == []
            device.writable.set()
            await trio.testing.wait_all_tasks_blocked()
            assert device.written == packets
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_who_cannot_wait_is_told_and_it_is_counted() -> None:
    async def main() -> None:
        site, _ = make()
        packet = ipv4("10.9.0.1", "10.8.0.2")
        assert all(site.deliver_nowait(batch(packet)) for _ in range(WRITER_BATCHES))
        assert not site.deliver_nowait(batch(packet, packet))
        statistics = site.statistics()
        assert (statistics.writer_full, statistics.device) == (2, "the device's own")

    trio.run(main)


def test_acls_hold_whichever_way_packets_come() -> None:
    async def main() -> None:
        site, device = make(IPv4Network("10.9.0.0/16"))
        device.writable.set()
        good, bad = ipv4("10.9.0.1", "10.8.0.2"), ipv4("10.10.0.1", "10.8.0.2")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.write)
            assert site.deliver_nowait(batch(bad, good, bad, good, ipv6(1, 2)))
            assert site.deliver_nowait(batch(bad))
            await trio.testing.wait_all_tasks_blocked()
            assert device.written == [good, good]
            assert site.statistics().not_in_acls == 4
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_acls_that_come_later_hold_for_links_that_are_there() -> None:
    class Network:
        async def change(self, settings: Any) -> None:
            await trio.lowlevel.checkpoint()
            assert settings.routes == (IPv4Network("10.9.0.0/16"),)

    async def main() -> None:
        site, device = make()
        site.network = Network()  # type: ignore[assignment]  # changes none
        device.name = "tun7"
        good, bad = ipv4("10.9.0.1", "10.8.0.2"), ipv4("10.10.0.1", "10.8.0.2")
        reader = site.reader()
        networks = (IPv4Network("10.9.0.0/16"),)
        await site.change(
            SiteConfig(gateway=IPv4Address("10.8.0.2"), acls=networks, route_networks=networks)
        )
        async with trio.open_nursery() as nursery:
            device.writable.set()
            nursery.start_soon(site.write)
            for run in reader.receive_data_untrusted(frames(codec.S2C_IPDATA, bad, good, bad)):
                assert site.take_nowait(run)
            for run in reader.receive_data_untrusted(frames(codec.S2C_IPDATA, good, bad)):
                await site.deliver(run)
            await trio.testing.wait_all_tasks_blocked()
            assert device.written == [good, good]
            assert site.statistics().not_in_acls == 3
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_deleted_device_ends_the_writer_with_one_line() -> None:
    async def main() -> None:
        site, device = make()
        device.deleted = True
        device.writable.set()
        site.deliver_nowait(batch(ipv4("10.9.0.1", "10.8.0.2")))
        with pytest.raises(HostError, match="the interface was deleted"):
            await site.write()

    trio.run(main)


def test_what_the_device_takes_at_once_is_written_at_once_and_in_order() -> None:
    async def main() -> None:
        site, device = make()
        packets = [ipv4("10.9.0.1", "10.8.0.2", 40 + number) for number in range(6)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.write)
            await trio.testing.wait_all_tasks_blocked()
            device.writable.set()
            assert site.deliver_nowait(batch(packets[0]))
            assert device.written == packets[:1]
            # The device stalls in the middle of this one; what follows must not overtake it.
            device.writable = trio.Event()
            assert all(site.deliver_nowait(batch(packet)) for packet in packets[1:4])
            await trio.testing.wait_all_tasks_blocked()
            assert site.deliver_nowait(batch(packets[4]))
            assert device.written == packets[:1]
            device.writable.set()
            await trio.testing.wait_all_tasks_blocked()
            assert site.deliver_nowait(batch(packets[5]))
            assert device.written == packets
            nursery.cancel_scope.cancel()

    trio.run(main)
