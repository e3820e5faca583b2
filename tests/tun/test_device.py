"""tun/device: real kernels at both ends.

::

    namespace left                                   namespace right
    sockets - kernel - TUN  <- read_batch, write_batch ->  TUN - kernel - sockets

Each test's packets go through one host's network stack, are split, joined again, and go through
the other's. Sockets made in a namespace stay in it, so everything runs in one Trio loop here.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing
from pyroute2 import IPRoute

from polevpn_trio.batch import SEQUENCES_OFFLOAD, FrameBatch
from polevpn_trio.errors import HostError
from polevpn_trio.lab.namespaces import Host, Lab, wait_until
from polevpn_trio.tun.device import READ_BUDGET, WRITE_TURN, TunDevice, TunStatistics

pytestmark = pytest.mark.needs_root_lab

COMMAND = 3
LEFT: dict[int, str] = {socket.AF_INET: "10.77.0.1", socket.AF_INET6: "fd77::1"}
RIGHT: dict[int, str] = {socket.AF_INET: "10.77.0.2", socket.AF_INET6: "fd77::2"}
FAMILIES = pytest.mark.parametrize(
    "family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"]
)
OFFLOAD = pytest.mark.parametrize("offload", [True, False], ids=["offload", "plain"])
UDP_SEGMENT = 103
SIOCGIFMTU = 0x8921
IFA_F_NODAD = 0x02
RTN_LOCAL = 2
MEGABYTE = 1 << 20
# Of every wait; nothing here takes nearly as long.
PATIENCE = 30


@attrs.frozen
class Pair:
    left: Host
    right: Host
    left_tun: TunDevice
    right_tun: TunDevice

    def statistics(self) -> tuple[TunStatistics, TunStatistics]:
        return self.left_tun.statistics(), self.right_tun.statistics()


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with Lab() as lab:
        yield lab.host("left"), lab.host("right")


def bring_up(interface: str, addresses: dict[int, str]) -> None:
    with IPRoute() as netlink:
        index = socket.if_nametoindex(interface)
        netlink.link("set", index=index, state="up")
        for family, prefix in ((socket.AF_INET, 24), (socket.AF_INET6, 64)):
            netlink.addr(
                "add",
                index=index,
                family=family,
                address=addresses[family],
                prefixlen=prefix,
                flags=IFA_F_NODAD if family == socket.AF_INET6 else 0,
            )

        def usable() -> bool:
            (route,) = netlink.route("get", dst=addresses[socket.AF_INET6])
            return bool(route["type"] == RTN_LOCAL)

        # The kernel begins to take packets for a new IPv6 address a little later.
        wait_until(usable, PATIENCE, f"{interface} to have its IPv6 address")


def delete(interface: str) -> None:
    with IPRoute() as netlink:
        netlink.link("del", index=socket.if_nametoindex(interface))


def mtu_of(interface: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16si", interface.encode(), 0)
        answer = fcntl.ioctl(any_socket, SIOCGIFMTU, request + bytes(12))
    return int(struct.unpack_from("i", answer, 16)[0])


Change = Callable[[FrameBatch], bytes | bytearray | memoryview]


def same(batch: FrameBatch) -> bytes | bytearray | memoryview:
    return batch.data


@asynccontextmanager
async def joined(
    hosts: tuple[Host, Host],
    *,
    offload: bool = True,
    right_offload: bool | None = None,
    whole: bool = False,
    left_mtu: int = 1500,
    right_mtu: int = 1500,
    change: Change = same,
) -> AsyncIterator[Pair]:
    """Give both hosts a TUN device and carry packets between these; fail when that takes long."""
    left, right = hosts
    with (
        left.call(TunDevice.open, None, left_mtu, offload=offload) as left_tun,
        right.call(
            TunDevice.open,
            None,
            right_mtu,
            offload=offload if right_offload is None else right_offload,
        ) as right_tun,
    ):
        left_tun.keep_super_packets(whole)
        right_tun.keep_super_packets(whole)
        left.call(bring_up, left_tun.name, LEFT)
        right.call(bring_up, right_tun.name, RIGHT)

        async def carry(source: TunDevice, target: TunDevice) -> None:
            while True:
                batch = await source.read_batch(COMMAND)
                assert batch.packets > 0
                await target.write_batch(change(batch))

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(carry, left_tun, right_tun)
                nursery.start_soon(carry, right_tun, left_tun)
                yield Pair(left, right, left_tun, right_tun)
                nursery.cancel_scope.cancel()


def make_socket(host: Host, family: int, kind: int, protocol: int = 0) -> trio.socket.SocketType:
    return trio.socket.from_stdlib_socket(host.call(socket.socket, family, kind, protocol))


async def send_all(stream: trio.SocketStream, seed: int, size: int) -> str:
    """Send random bytes and end the stream; return their hash."""
    data = random.Random(seed).randbytes(size)
    await stream.send_all(data)
    await stream.send_eof()
    return hashlib.sha256(data).hexdigest()


async def receive_all(stream: trio.SocketStream) -> str:
    digest = hashlib.sha256()
    async for data in stream:
        digest.update(data)
    return digest.hexdigest()


async def exchange(left: trio.SocketStream, right: trio.SocketStream, size: int) -> None:
    """Send ``size`` bytes each way at the same time and compare hashes."""
    results: dict[str, str] = {}

    async def keep(name: str, run: Callable[[], Awaitable[str]]) -> None:
        results[name] = await run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep, "left sent", lambda: send_all(left, 1, size))
        nursery.start_soon(keep, "right sent", lambda: send_all(right, 2, size))
        nursery.start_soon(keep, "left got", lambda: receive_all(left))
        nursery.start_soon(keep, "right got", lambda: receive_all(right))
    assert results["right got"] == results["left sent"]
    assert results["left got"] == results["right sent"]


async def connect(pair: Pair, family: int) -> tuple[trio.SocketStream, trio.SocketStream]:
    listener = make_socket(pair.right, family, socket.SOCK_STREAM)
    client = make_socket(pair.left, family, socket.SOCK_STREAM)
    with listener:
        await listener.bind((RIGHT[family], 0))
        listener.listen()
        await client.connect(listener.getsockname()[:2])
        server, _ = await listener.accept()
    return trio.SocketStream(client), trio.SocketStream(server)


def dropped(statistics: TunStatistics) -> int:
    counts = attrs.asdict(statistics)
    return sum(
        counts[name]
        for name in counts
        if name.startswith(("read_", "write_")) or name == "bad_checksum"
    )


@FAMILIES
@OFFLOAD
def test_tcp_both_ways_at_once(hosts: tuple[Host, Host], family: int, offload: bool) -> None:
    async def main() -> None:
        async with joined(hosts, offload=offload) as pair:
            assert pair.left_tun.offload is offload
            left, right = await connect(pair, family)
            async with left, right:
                await exchange(left, right, 8 * MEGABYTE if offload else MEGABYTE)
            for statistics in pair.statistics():
                assert dropped(statistics) == 0
                assert (statistics.super_packets_read > 20) is offload
                assert (statistics.super_packets_written > 20) is offload
                assert statistics.packets_read > 500
                assert statistics.bytes_read > MEGABYTE
                assert statistics.packets_written > 500
                assert statistics.bytes_written > MEGABYTE

    trio.run(main)


@FAMILIES
@pytest.mark.parametrize("right_offload", [True, False], ids=["offload", "plain"])
def test_super_packets_pass_whole_and_are_cut_for_a_tun_without_offload(
    hosts: tuple[Host, Host], family: int, right_offload: bool
) -> None:
    whole = 0

    def look(batch: FrameBatch) -> bytes | bytearray | memoryview:
        nonlocal whole
        whole += batch.sequences == SEQUENCES_OFFLOAD
        return batch.data

    async def main() -> None:
        async with joined(hosts, whole=True, right_offload=right_offload, change=look) as pair:
            left, right = await connect(pair, family)
            async with left, right:
                await exchange(left, right, 4 * MEGABYTE)
            # What the kernel has taken may still be under way in it, but nothing else may.
            there, here = pair.statistics()
            assert whole > 20
            assert there.super_packets_read > 20
            assert (here.super_packets_written > 20) is right_offload
            assert there.packets_read > there.super_packets_read * 2
            for statistics in (there, here):
                assert dropped(statistics) == 0

    trio.run(main)


@FAMILIES
@pytest.mark.parametrize("right_offload", [True, False], ids=["offload", "plain"])
def test_udp_super_packets_pass_whole_or_are_cut(
    hosts: tuple[Host, Host], family: int, right_offload: bool
) -> None:
    async def main() -> None:
        async with joined(hosts, whole=True, right_offload=right_offload) as pair:
            if not pair.left_tun.udp_offload:
                pytest.skip("this kernel makes no super-packets of UDP")
            sender = make_socket(pair.left, family, socket.SOCK_DGRAM)
            receiver = make_socket(pair.right, family, socket.SOCK_DGRAM)
            with sender, receiver:
                await receiver.bind((RIGHT[family], 5002))
                await sender.connect((RIGHT[family], 5002))
                sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1200)
                data = random.Random(5).randbytes(1200 * 40 + 321)
                await sender.send(data)
                got = [await receiver.recv(65536) for _ in range(41)]
                assert [len(datagram) for datagram in got] == [1200] * 40 + [321]
                assert b"".join(got) == data
            left, right = pair.statistics()
            assert left.super_packets_read == 1
            assert right.super_packets_written == (1 if right_offload else 0)
            assert right.packets_written >= 41
            for statistics in pair.statistics():
                assert dropped(statistics) == 0

    trio.run(main)


@FAMILIES
def test_segments_are_real_packets_in_between(hosts: tuple[Host, Host], family: int) -> None:
    """Everything between the devices is an ordinary packet of at most one MTU."""
    longest = 0

    def look(batch: FrameBatch) -> bytes | bytearray | memoryview:
        nonlocal longest
        at = packets = 0
        while at < len(batch.data):
            length, command = struct.unpack_from("!HH", batch.data, at)
            assert command == COMMAND
            longest = max(longest, length - 8)
            at += length
            packets += 1
        assert packets == batch.packets
        assert len(batch.data) <= READ_BUDGET + 70_000
        return batch.data

    async def main() -> None:
        async with joined(hosts, left_mtu=1400, right_mtu=1400, change=look) as pair:
            left, right = await connect(pair, family)
            async with left, right:
                await exchange(left, right, 2 * MEGABYTE)
        assert longest == 1400

    trio.run(main)


@FAMILIES
def test_mss_is_clamped_to_the_smaller_mtu(hosts: tuple[Host, Host], family: int) -> None:
    """The host with the large MTU learns in the handshake what the tunnel's other end takes."""

    async def main() -> None:
        async with joined(hosts, left_mtu=9000, right_mtu=1400) as pair:
            left, right = await connect(pair, family)
            async with left, right:
                await exchange(left, right, MEGABYTE)
                limit = 1400 - (40 if family == socket.AF_INET else 60)
                for stream in (left, right):
                    mss = stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
                    assert mss <= limit
            # The SYN of the large side is written into the small one's device.
            assert pair.right_tun.statistics().clamped == 1

    trio.run(main)


@FAMILIES
def test_losses_are_repaired_as_on_any_network(hosts: tuple[Host, Host], family: int) -> None:
    """Holes in the sequence end a super-packet; what is resent joins again."""
    source = random.Random(7)

    def lose(batch: FrameBatch) -> bytes:
        kept = []
        at = 0
        while at < len(batch.data):
            (length,) = struct.unpack_from("!H", batch.data, at)
            if source.random() > 0.01:
                kept.append(bytes(batch.data[at : at + length]))
            at += length
        return b"".join(kept)

    async def main() -> None:
        async with joined(hosts, change=lose) as pair:
            left, right = await connect(pair, family)
            async with left, right:
                await exchange(left, right, MEGABYTE)

    trio.run(main)


@FAMILIES
@OFFLOAD
@pytest.mark.parametrize("segment", [0, 1200, 999], ids=["single", "segment1200", "segment999"])
def test_udp_datagrams_keep_their_boundaries(
    hosts: tuple[Host, Host], family: int, offload: bool, segment: int
) -> None:
    async def main() -> None:
        async with joined(hosts, offload=offload) as pair:
            sender = make_socket(pair.left, family, socket.SOCK_DGRAM)
            receiver = make_socket(pair.right, family, socket.SOCK_DGRAM)
            with sender, receiver:
                await receiver.bind((RIGHT[family], 5002))
                await sender.connect((RIGHT[family], 5002))
                source = random.Random(segment)
                for _ in range(10):
                    if segment:
                        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
                        data = source.randbytes(segment * 20 + 321)
                        sizes = [segment] * 20 + [321]
                        await sender.send(data)
                    else:
                        sizes = [1, 8, 1472, 100, 0, 700]
                        data = source.randbytes(sum(sizes))
                        at = 0
                        for size in sizes:
                            await sender.send(data[at : at + size])
                            at += size
                    got = [await receiver.recv(65536) for _ in sizes]
                    assert [len(datagram) for datagram in got] == sizes
                    assert b"".join(got) == data
            if segment and pair.left_tun.udp_offload:
                left, right = pair.statistics()
                assert left.super_packets_read == 10
                assert right.super_packets_written >= 10
            for statistics in pair.statistics():
                assert dropped(statistics) == 0

    trio.run(main)


@OFFLOAD
def test_fragments_pass(hosts: tuple[Host, Host], offload: bool) -> None:
    """Datagrams larger than the MTU are cut by one kernel and put together by the other."""

    async def main() -> None:
        async with joined(hosts, offload=offload) as pair:
            for family in (socket.AF_INET, socket.AF_INET6):
                sender = make_socket(pair.left, family, socket.SOCK_DGRAM)
                receiver = make_socket(pair.right, family, socket.SOCK_DGRAM)
                with sender, receiver:
                    await receiver.bind((RIGHT[family], 5002))
                    for size in (1473, 4000, 30_000):
                        data = os.urandom(size)
                        await sender.sendto(data, (RIGHT[family], 5002))
                        assert await receiver.recv(65536) == data

    trio.run(main)


@pytest.mark.parametrize("size", [0, 56, 1472, 8000])
def test_ping(hosts: tuple[Host, Host], size: int) -> None:
    async def main() -> None:
        async with joined(hosts) as pair:
            icmp = make_socket(pair.left, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            with icmp:
                body = struct.pack("!HH", 99, size) + random.Random(size).randbytes(size)
                # An even length, so that plain words sum up.
                words = struct.unpack(f"!{len(body) // 2}H", body)
                checksum = ((sum(words) + 0x0800) % 0xFFFF) ^ 0xFFFF
                request = struct.pack("!BBH", 8, 0, checksum) + body
                await icmp.sendto(request, (RIGHT[socket.AF_INET], 0))
                while True:
                    reply = (await icmp.recv(65536))[20:]
                    if reply[0] == 0:
                        break
                assert reply[4:] == body

    trio.run(main)


def test_bad_packets_are_counted_and_the_rest_arrives(hosts: tuple[Host, Host]) -> None:
    def spoil(batch: FrameBatch) -> bytes:
        junk = struct.pack("!HHI", 28, COMMAND, 0) + b"\xff" * 20
        return junk + bytes(batch.data) + junk

    async def main() -> None:
        async with joined(hosts, change=spoil) as pair:
            left, right = await connect(pair, socket.AF_INET)
            async with left, right:
                await exchange(left, right, MEGABYTE)
            assert all(statistics.write_malformed > 10 for statistics in pair.statistics())

    trio.run(main)


PACKET = b"\x45\x00\x00\x14\x00\x00\x00\x00\x40\xfd" + bytes(10)
FRAME = struct.pack("!HHI", 28, COMMAND, 0) + PACKET


@OFFLOAD
def test_packets_for_an_interface_that_is_down_are_counted(
    hosts: tuple[Host, Host], offload: bool
) -> None:
    async def main() -> None:
        with hosts[0].call(TunDevice.open, None, 1500, offload=offload) as tun:
            await tun.write_batch(FRAME * 3)
            assert tun.statistics().write_interface_down == 3
            hosts[0].set_link(tun.name, up=True)
            await tun.write_batch(FRAME * 2)
            statistics = tun.statistics()
            assert statistics.write_interface_down == 3
            assert statistics.packets_written == 2
            assert statistics.bytes_written == 40

    trio.run(main)


def test_a_packet_the_kernel_refuses_is_counted(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter([errno.EINVAL, errno.ENOMEM, errno.ENOBUFS])
    write = os.write

    def refuse(fd: int, data: bytes) -> int:
        number = next(refusals, None)
        if number is not None:
            raise OSError(number, os.strerror(number))
        return write(fd, data)

    async def main() -> None:
        with hosts[0].call(TunDevice.open, None, 1500) as tun:
            hosts[0].set_link(tun.name, up=True)
            monkeypatch.setattr(os, "write", refuse)
            await tun.write_batch(FRAME * 4)
            monkeypatch.undo()
            statistics = tun.statistics()
            assert statistics.write_refused == 1
            assert statistics.write_no_memory == 2
            assert statistics.packets_written == 1

    trio.run(main)


def test_a_full_kernel_is_waited_for(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    fulls = 3
    write = os.write

    def be_full(fd: int, data: bytes) -> int:
        nonlocal fulls
        if fulls:
            fulls -= 1
            raise BlockingIOError(errno.EAGAIN, "full")
        return write(fd, data)

    async def main() -> None:
        with hosts[0].call(TunDevice.open, None, 1500) as tun:
            hosts[0].set_link(tun.name, up=True)
            monkeypatch.setattr(os, "write", be_full)
            await tun.write_batch(FRAME * 2)
            monkeypatch.undo()
            assert tun.statistics().packets_written == 2

    trio.run(main)


async def read_for_ever(tun: TunDevice) -> None:
    """Read; hosts say things by themselves when an interface comes up."""
    while True:
        await tun.read_batch(COMMAND)


def test_a_deleted_interface_is_an_error_of_the_host(hosts: tuple[Host, Host]) -> None:
    async def main() -> None:
        host = hosts[0]
        with host.call(TunDevice.open, None, 1500) as tun:
            host.set_link(tun.name, up=True)
            with pytest.RaisesGroup(pytest.RaisesExc(HostError, match="was deleted")):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read_for_ever, tun)
                    await trio.testing.wait_all_tasks_blocked()
                    host.call(delete, tun.name)
            with pytest.raises(HostError, match="was deleted"):
                await tun.write_batch(FRAME)

    trio.run(main)


def test_closing_wakes_the_reader_and_deletes_the_interface(hosts: tuple[Host, Host]) -> None:
    async def main() -> None:
        tun = hosts[0].call(TunDevice.open, "tunshut", 1500)
        assert "tunshut" in hosts[0].call(interfaces)
        with pytest.RaisesGroup(trio.ClosedResourceError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_for_ever, tun)
                await trio.testing.wait_all_tasks_blocked()
                tun.close()
        tun.close()
        for use in (tun.read_batch(COMMAND), tun.write_batch(FRAME)):
            with pytest.raises(trio.ClosedResourceError):
                await use
        assert "tunshut" not in hosts[0].call(interfaces)

    trio.run(main)


def interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def test_two_writers_are_a_mistake_of_the_caller(
    hosts: tuple[Host, Host],
) -> None:
    async def main() -> None:
        with hosts[0].call(TunDevice.open, None, 1500) as tun:
            with pytest.RaisesGroup(trio.BusyResourceError):
                async with trio.open_nursery() as nursery:
                    # More than one turn, so that the first is not done before the second.
                    for _ in range(2):
                        nursery.start_soon(tun.write_batch, FRAME * (WRITE_TURN // len(PACKET)))
            await tun.write_batch(FRAME)

    trio.run(main)


def test_cancelled_reader_loses_no_packet(hosts: tuple[Host, Host]) -> None:
    async def main() -> None:
        host = hosts[0]
        with host.call(TunDevice.open, None, 1500) as tun:
            host.set_link(tun.name, up=True)
            host.add_addresses(tun.name, "10.78.0.1/24")
            with trio.move_on_after(0):
                await read_for_ever(tun)
            with make_socket(host, socket.AF_INET, socket.SOCK_DGRAM) as sender:
                await sender.sendto(b"kept", ("10.78.0.2", 9))
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await tun.read_batch(COMMAND)
                assert scope.cancelled_caught
                batch = await tun.read_batch(COMMAND)
                assert bytes(batch.data).endswith(b"kept")

    trio.run(main)


def test_name_and_mtu_are_as_asked(hosts: tuple[Host, Host]) -> None:
    with hosts[0].call(TunDevice.open, "tunnamed", 1234) as tun:
        assert tun.name == "tunnamed"
        assert tun.mtu == 1234
        assert hosts[0].call(mtu_of, "tunnamed") == 1234


@pytest.mark.parametrize(
    ("name", "mtu", "says"),
    [
        ("a-name-too-long-for-linux", 1500, "a-name-too-long-for-linux"),
        ("lo", 1500, "TUN device lo"),
        (None, 70_000, "MTU of tun"),
    ],
)
def test_what_the_kernel_refuses_is_one_clear_line(
    hosts: tuple[Host, Host], name: str | None, mtu: int, says: str
) -> None:
    with pytest.raises(HostError, match=says) as caught:
        hosts[0].call(TunDevice.open, name, mtu)
    assert "\n" not in str(caught.value)


def test_an_interface_in_use_is_one_clear_line(hosts: tuple[Host, Host]) -> None:
    with (
        hosts[0].call(TunDevice.open, "tuntwice", 1500),
        pytest.raises(HostError, match="tuntwice: an interface of that name is in use"),
    ):
        hosts[0].call(TunDevice.open, "tuntwice", 1500)
