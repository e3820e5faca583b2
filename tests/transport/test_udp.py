"""Real sockets on loopback, with and without the kernel's offloads."""

from __future__ import annotations

import errno
import random
import socket
from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from polevpn_trio.errors import HostError, LinkLost
from polevpn_trio.transport.udp import FALLBACK_MTU, UdpSocket


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


HOSTS = [
    "127.0.0.1",
    pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")),
]


def pack(datagrams: list[bytes]) -> tuple[bytes, array[int], int]:
    return b"".join(datagrams), array("H", map(len, datagrams)), len(datagrams)


async def receive(sock: UdpSocket, count: int) -> list[bytes]:
    """Wait for so many datagrams and cut them apart."""
    got: list[bytes] = []
    while len(got) < count:
        try:
            data, segment, _ = sock.receive_batch_nowait()
        except BlockingIOError:
            await sock.while_readable(bool)
            continue
        if data:
            got += [data[at : at + segment] for at in range(0, len(data), segment)]
        else:
            got.append(b"")
    return got


@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("host", HOSTS)
def test_batches_arrive_as_sent_whatever_their_sizes(host: str, offload: bool) -> None:
    chooser = random.Random(3)
    batches = [
        [bytes([n]) * 1387 for n in range(46)],
        [bytes([n]) * 1387 for n in range(45)] + [b"end"],
        [b"end", *(bytes([n]) * 1387 for n in range(45))],
        [bytes([n]) * 10 for n in range(200)],
        [bytes([n]) * chooser.choice([100, 100, 100, 500, 1400]) for n in range(64)],
        [b"alone"],
        [b"", b"a", b"", b"bb", b"cc", b""],
        [b"x" * 40_000, b"y" * 40_000, b"z" * 3],
    ]

    async def main() -> None:
        listener = UdpSocket.bind(host, 0, gso=offload, gro=offload)
        client = UdpSocket.connect(listener.getsockname(), gso=offload, gro=offload)
        assert client.peer == listener.getsockname()
        if not offload:
            assert not client.gso
            assert not client.gro
        with trio.fail_after(10):
            for batch in batches:
                assert client.send_batch_nowait(*pack(batch), ("unused", 0)) == len(batch)
                assert await receive(listener, len(batch)) == batch
            address = client.getsockname()
            for batch in batches:
                assert listener.send_batch_nowait(*pack(batch), address) == len(batch)
                assert await receive(client, len(batch)) == batch
        sent = client.statistics()
        assert sent.datagrams_sent == sum(map(len, batches))
        assert sent.bytes_sent == sum(len(datagram) for batch in batches for datagram in batch)
        assert sent.send_errors == sent.full == 0
        received = listener.statistics()
        assert received.datagrams_received == sent.datagrams_sent
        assert received.bytes_received == sent.bytes_sent
        if not offload:
            assert sent.batches_sent == received.batches_received == sent.datagrams_sent
        client.close()
        listener.close()

    trio.run(main)


def test_offloads_of_this_kernel_are_used() -> None:
    async def main() -> None:
        listener = UdpSocket.bind("127.0.0.1", 0)
        client = UdpSocket.connect(listener.getsockname())
        if not (client.gso and listener.gro):
            pytest.skip("this kernel has no UDP GSO and GRO")
        batch = [bytes(1387)] * 46
        client.send_batch_nowait(*pack(batch), ())
        await receive(listener, 46)
        assert client.statistics().batches_sent == 1
        assert listener.statistics().batches_received == 1
        client.close()
        listener.close()

    trio.run(main)


def test_first_continues_where_the_last_call_stopped() -> None:
    async def main() -> None:
        listener = UdpSocket.bind("127.0.0.1", 0)
        client = UdpSocket.connect(listener.getsockname())
        batch = [b"zero", b"one", b"two", b"three"]
        assert client.send_batch_nowait(*pack(batch), (), 2) == 2
        assert await receive(listener, 2) == [b"two", b"three"]
        client.close()
        listener.close()

    trio.run(main)


class RefusingSocket:
    """Stands for a socket that fails to send as told."""

    def __init__(self, refuse: Callable[[int, int], int | None]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._refuse = refuse
        self.sent: list[tuple[int, bool]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def sendmsg(self, chunks: tuple[memoryview], control: tuple[Any, ...], *_: object) -> None:
        size = len(chunks[0])
        number = self._refuse(size, int.from_bytes(control[0][2], "little") if control else 0)
        if number is not None:
            raise OSError(number, "refused") if number != errno.EAGAIN else BlockingIOError
        self.sent.append((size, bool(control)))

    def sendto(self, chunk: memoryview, address: object) -> None:
        self.sendmsg((chunk,), ())


def udp_over(refusing: RefusingSocket) -> UdpSocket:
    udp = UdpSocket(refusing)  # type: ignore[arg-type]  # stands for a socket
    udp.gso = True
    return udp


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EMSGSIZE])
def test_segments_too_big_for_a_path_go_one_by_one_to_that_peer(number: int) -> None:
    refusing = RefusingSocket(lambda _, segment: number if segment > 1000 else None)
    udp = udp_over(refusing)
    batch = pack([bytes(1200)] * 5)
    narrow, wide = ("192.0.2.1", 1), ("192.0.2.2", 1)
    assert udp.send_batch_nowait(*batch, narrow) == 5
    assert refusing.sent == [(1200, False)] * 5
    # It is remembered, for this size and this peer only.
    assert udp.send_batch_nowait(*batch, narrow) == 5
    assert udp.statistics().gso_refused == 1
    small = pack([bytes(900)] * 5)
    refusing.sent.clear()
    assert udp.send_batch_nowait(*small, narrow) == 5
    assert udp.send_batch_nowait(*small, wide) == 5
    assert refusing.sent == [(4500, True)] * 2
    assert udp.statistics().datagrams_sent == 20
    udp.close()


def test_a_device_without_checksum_offload_gets_no_segments_at_all() -> None:
    refusing = RefusingSocket(lambda _, segment: errno.EIO if segment else None)
    udp = udp_over(refusing)
    for size in (1200, 10):
        assert udp.send_batch_nowait(*pack([bytes(size)] * 3), ("192.0.2.1", 1)) == 3
    assert udp.statistics().gso_refused == 1
    assert refusing.sent == [(1200, False)] * 3 + [(10, False)] * 3
    udp.close()


def test_remembered_refusals_are_bounded() -> None:
    refusing = RefusingSocket(lambda _, segment: errno.EINVAL if segment else None)
    udp = udp_over(refusing)
    for port in range(1, 3000):
        udp.send_batch_nowait(*pack([b"ab"] * 2), ("192.0.2.1", port))
    assert len(udp._refused) <= 1024
    udp.close()


def test_a_full_buffer_stops_the_batch() -> None:
    allowed = iter([None, None, errno.EAGAIN, None, None])
    udp = udp_over(RefusingSocket(lambda *_: next(allowed)))
    batch = pack([b"1", b"22", b"333", b"4444"])
    address = ("192.0.2.1", 1)
    assert udp.send_batch_nowait(*batch, address) == 2
    assert udp.send_batch_nowait(*batch, address, 2) == 2
    assert udp.statistics().full == 1
    udp.close()


@pytest.mark.parametrize(
    "number", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPERM]
)
def test_refused_datagrams_are_counted_and_do_not_raise(number: int) -> None:
    udp = udp_over(RefusingSocket(lambda *_: number))
    assert udp.send_batch_nowait(*pack([b"1", b"22", b"33"]), ("192.0.2.1", 1)) == 3
    assert udp.statistics().send_errors == 3
    assert udp.last_error is not None
    udp.close()


def test_nobody_listening_is_no_error() -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
            unused.bind(("127.0.0.1", 0))
            address = unused.getsockname()
        client = UdpSocket.connect(address)
        for _ in range(4):
            assert client.send_batch_nowait(*pack([b"anyone?"]), address) == 1
        with pytest.raises(BlockingIOError):
            client.receive_batch_nowait()
        assert client.statistics().receive_errors + client.statistics().send_errors >= 1
        client.close()

    trio.run(main)


def test_waiting_ends_when_the_socket_is_closed() -> None:
    async def main() -> None:
        sock = UdpSocket.bind("127.0.0.1", 0)

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await sock.while_readable(bool)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            sock.close()
        sock.close()
        for operation in (
            sock.receive_batch_nowait,
            lambda: sock.send_batch_nowait(*pack([b"late"]), ("127.0.0.1", 9)),
        ):
            with pytest.raises(trio.ClosedResourceError):
                operation()
        for waiting in (partial(sock.while_readable, bool), sock.wait_writable):
            with pytest.raises(trio.ClosedResourceError):
                await waiting()

    trio.run(main)


def test_several_tasks_may_wait_for_room() -> None:
    async def main() -> None:
        sock = UdpSocket.bind("127.0.0.1", 0)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(sock.wait_writable)
        sock.close()

    trio.run(main)


def test_port_in_use_is_one_clear_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        expected = rf"^cannot listen on UDP 127\.0\.0\.1:{port}: \w"
        with pytest.raises(HostError, match=expected) as caught:
            UdpSocket.bind("127.0.0.1", port)
        assert f"ss -lnup sport = :{port}" in caught.value.advice


def test_foreign_address_cannot_be_listened_on() -> None:
    with pytest.raises(HostError, match=r"192\.0\.2\.1:5"):
        UdpSocket.bind("192.0.2.1", 5)


def test_no_route_is_link_lost() -> None:
    with pytest.raises(LinkLost, match=r"cannot reach"):
        UdpSocket.connect(("255.255.255.255", 9))


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("everywhere", ["::", ""])
def test_listening_everywhere_includes_ipv4(everywhere: str) -> None:
    async def main() -> None:
        listener = UdpSocket.bind(everywhere, 0)
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            client = UdpSocket.connect((host, port))
            client.send_batch_nowait(*pack([b"ping"]), ())
            await listener.while_readable(bool)
            data, _, address = listener.receive_batch_nowait()
            assert data == b"ping"
            listener.send_batch_nowait(*pack([b"pong"]), address)
            assert await receive(client, 1) == [b"pong"]
            assert listener.path_mtu(address) >= 1280
            client.close()
        listener.close()

    trio.run(main)


@pytest.mark.parametrize("host", HOSTS)
def test_path_mtu_is_that_of_the_interface(host: str) -> None:
    async def main() -> None:
        listener = UdpSocket.bind(host, 0)
        assert listener.path_mtu(listener.getsockname()) in (65535, 65536)
        assert listener.path_mtu(("255.255.255.255", 1)) in (FALLBACK_MTU, 1500)
        listener.close()

    trio.run(main)
