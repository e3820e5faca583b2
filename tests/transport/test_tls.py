"""TLS streams over loopback: what peers may do to them."""

from __future__ import annotations

import contextlib
import gc
import random
import select
import socket
import struct
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from OpenSSL import SSL

from polevpn_trio.errors import HostError, LinkLost
from polevpn_trio.stream_buffer import StreamBuffer
from polevpn_trio.transport import eager, tls, tls_link, tls_session
from polevpn_trio.transport.tcp import (
    BBR,
    SHORT_PATH,
    choose_congestion_control,
    congestion_control,
)
from polevpn_trio.transport.tcp_info import read_path
from polevpn_trio.transport.tls import TlsStream, client_context, server_context
from polevpn_trio.transport.tls_link import TlsLink
from polevpn_trio.transport.tls_records import MOST_CONTENT
from polevpn_trio.transport.tls_session import OpenSslRecords, OwnRecords, TlsHandshake


@pytest.fixture(autouse=True, params=["own records", "OpenSSL's records"])
def records(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who makes the records after the handshake."""
    whose: str = request.param
    if whose != "own records":
        monkeypatch.setattr(tls_session, "SUITES", {})
    return whose


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """A TCP connection with itself over loopback: the client's end, the server's end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return client, server


def over_stream(certificate: Any, body: Callable[[TlsStream, TlsStream], Awaitable[None]]) -> None:
    async def main() -> None:
        client, server = socket_pair()
        streams: dict[str, TlsStream] = {}

        async def accept() -> None:
            context = server_context(certificate.cert_file, certificate.key_file)
            streams["server"] = await TlsStream.handshake(server, context)

        async def connect() -> None:
            streams["client"] = await TlsStream.handshake(
                client, client_context(), server_name="localhost"
            )

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept)
                nursery.start_soon(connect)
            try:
                await body(streams["client"], streams["server"])
            finally:
                for stream in streams.values():
                    stream.close()

    trio.run(main)


def test_the_records_of_this_openssl_are_taken_over(certificates: Any, records: str) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        expected = OwnRecords if records == "own records" else OpenSslRecords
        assert {type(client._session), type(server._session)} == {expected}
        await trio.lowlevel.checkpoint()

    over_stream(certificates.ecdsa, body)


def test_what_was_pushed_back_comes_first(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        await client.send_all(b"GET rest")
        start = await server.receive_some(4)
        server.push_back(start)
        received = b""
        while len(received) < 8:
            received += await server.receive_some()
        assert received == b"GET rest"

    over_stream(certificates.ecdsa, body)


def test_bulk_arrives_as_it_was_sent_in_both_directions_at_once(certificates: Any) -> None:
    data = random.Random(1).randbytes(3_000_001)

    async def body(client: TlsStream, server: TlsStream) -> None:
        async def receive(stream: TlsStream) -> None:
            received = bytearray()
            while len(received) < len(data):
                received += await stream.receive_some()
            assert received == data

        async with trio.open_nursery() as nursery:
            for stream in (client, server):
                nursery.start_soon(stream.send_all, data)
                nursery.start_soon(receive, stream)

    over_stream(certificates.ecdsa, body)


def test_who_sends_may_meet_who_waits_for_the_kernel_to_pass_on_what_it_has(
    certificates: Any,
) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        count = 0
        while client.ready and client.takes_more():
            client.send_nowait(bytes(10_000))
            count += 10_000
        assert client.ready
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.finish)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(client.send_all, bytes(10_000_000))
            await trio.testing.wait_all_tasks_blocked()
            count += 10_000_000
            while count:
                count -= len(await server.receive_some())

    over_stream(certificates.ecdsa, body)


def test_all_who_wait_for_the_socket_are_told_when_it_is_closed(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        while client.ready and client.takes_more():
            client.send_nowait(bytes(10_000))
        told = 0

        async def be_told(wait: Callable[[], Awaitable[None]]) -> None:
            nonlocal told
            with pytest.raises(trio.ClosedResourceError):
                await wait()
            told += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_told, client.finish)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(be_told, partial(client.send_all, bytes(10_000_000)))
            await trio.testing.wait_all_tasks_blocked()
            client.close()
        assert told == 2

    over_stream(certificates.ecdsa, body)


def test_close_tells_the_peer_and_wakes_our_own_tasks(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await client.receive_some()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            client.shut_down()
            nursery.start_soon(client.linger)
            await trio.testing.wait_all_tasks_blocked()
            client.close()
            client.close()
        assert await server.receive_some() == b""

    over_stream(certificates.rsa, body)


def test_a_closed_link_resets_nothing_that_the_peer_still_says(certificates: Any) -> None:
    """What arrives before the close, and what arrives after it."""

    async def body(client: TlsStream, server: TlsStream) -> None:
        link = TlsLink(client, "peer")
        async with trio.open_nursery() as nursery:
            await nursery.start(link.run)
            await server.send_all(b"unread")
            link.close()
            await server.send_all(b"too late")
            assert await server.receive_some() == b""
            with pytest.raises(trio.ClosedResourceError):
                await client.receive_some()
            assert server._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            assert client._socket.fileno() != -1
            server.close()
        assert client._socket.fileno() == -1

    over_stream(certificates.ecdsa, body)


@pytest.mark.parametrize("eagerly", [False, True])
def test_a_link_that_has_ended_is_gone_without_the_garbage_collector(
    eagerly: bool, certificates: Any
) -> None:
    """A full collection holds up everybody for as long as it takes to look at all gateways."""

    async def use(stream: TlsStream, ends: Callable[[], None]) -> weakref.ref[TlsLink]:
        link = TlsLink(stream, "peer")
        async with trio.open_nursery() as nursery:
            await nursery.start(link.run)
            link.flush()
            ends()
            with pytest.raises(LinkLost, match="the peer closed the link"):
                await link.receive_each(lambda data: None)
            link.close()
        return weakref.ref(link)

    async def body(client: TlsStream, server: TlsStream) -> None:
        reads = eager.reading_eagerly() if eagerly else contextlib.nullcontext()
        with reads:
            reference = await use(client, server.shut_down)
            await trio.testing.wait_all_tasks_blocked()
        assert reference() is None

    gc.disable()
    try:
        over_stream(certificates.ecdsa, body)
    finally:
        gc.enable()


def test_a_peer_that_never_ends_its_side_is_left_in_the_end(
    certificates: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_link, "LINGER_SECONDS", 0.02)

    async def body(client: TlsStream, server: TlsStream) -> None:
        link = TlsLink(client, "peer")
        async with trio.open_nursery() as nursery:
            await nursery.start(link.run)
            nursery.cancel_scope.cancel()
        assert client._socket.fileno() == -1
        assert await server.receive_some() == b""

    over_stream(certificates.ecdsa, body)


def test_who_sends_without_a_pause_while_we_linger_leaves_others_their_turns(
    certificates: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "_received", bytearray(100))

    async def body(client: TlsStream, server: TlsStream) -> None:
        plain = server._socket
        client.shut_down()
        size = plain.send(bytes(10_000))
        plain.shutdown(socket.SHUT_WR)
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            await client.linger()
            nursery.cancel_scope.cancel()
        assert turns >= size // 100

    over_stream(certificates.ecdsa, body)


@pytest.mark.parametrize("waits", [False, True])
def test_an_end_that_comes_with_the_last_data_needs_no_waiting_for(
    waits: bool, certificates: Any
) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        got: list[bytes] = []

        def take() -> bool:
            data = StreamBuffer()
            if client.receive_into_nowait(data) is not None:
                got.append(data.take())
            return got[-1:] != [b""]

        last = bytes(server._session.seal(b"last")) + server._session.last_words()
        if not waits:
            server._socket.send(last)
            await trio.lowlevel.wait_readable(client._socket)
            assert take()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.while_readable, take)
            await trio.testing.wait_all_tasks_blocked()
            if waits:
                server._socket.send(last)
        assert got == [b"last", b""]

    over_stream(certificates.ecdsa, body)


@pytest.mark.parametrize("eagerly", [False, True])
def test_nobody_waits_for_a_stream_that_was_ended(eagerly: bool, certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        with eager.reading_eagerly() if eagerly else contextlib.nullcontext():
            for end in (client.shut_down, client.close):
                end()
                with pytest.raises(trio.ClosedResourceError):
                    await client.while_readable(lambda: True)
                with pytest.raises(trio.ClosedResourceError):
                    await client.send_all(b"too late")

    over_stream(certificates.ecdsa, body)


def test_what_is_no_whole_record_yet_holds_no_room_for_data(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        record = bytes(client._session.seal(b"hello"))
        received = StreamBuffer()
        for piece in (record[:7], record[7:]):
            assert received.capacity == 0
            client._socket.send(piece)
            await trio.lowlevel.wait_readable(server._socket)
            server.receive_into_nowait(received)
        assert received.take() == b"hello"

    over_stream(certificates.ecdsa, body)


def test_no_more_is_read_at_a_time_than_who_opens_it_can_in_one_turn(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        most = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, bytes(1 << 20))
            await trio.sleep(0.02)
            left = 1 << 20
            while left:
                size = await server.receive_into(StreamBuffer())
                most, left = max(most, size), left - size
        # With the rest of a record that had begun.
        assert most <= server._session.most_at_once + MOST_CONTENT

    over_stream(certificates.ecdsa, body)


def test_a_connection_reset_is_an_end_like_another(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client._socket.close()
        assert await server.receive_some() == b""
        with pytest.raises(trio.BrokenResourceError):
            server.send_nowait(bytes(10))
        assert not server.ready
        link = TlsLink(server, "peer")
        with pytest.raises(LinkLost):
            await link.receive()
        with pytest.raises(LinkLost):
            await link.send_batch([bytes(10)])

    over_stream(certificates.ecdsa, body)


def test_a_send_cut_short_spoils_the_stream_for_later_ones(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        with trio.move_on_after(0.05) as scope:
            await client.send_all(bytes(64 << 20))
        assert scope.cancelled_caught
        with pytest.raises(trio.BrokenResourceError, match="interrupted"):
            await client.send_all(b"more")

    over_stream(certificates.ecdsa, body)


def test_bbr_is_left_aside_on_a_path_that_the_kernel_says_is_short(certificates: Any) -> None:
    async def body(client: TlsStream, server: TlsStream) -> None:
        if not choose_congestion_control(client._socket, BBR):
            pytest.skip("this kernel does not let us use bbr")
        for _ in range(20):
            await client.send_all(b"x")
            assert await server.receive_some() == b"x"
        path = read_path(client._socket)
        assert path is not None
        if path.min_rtt >= SHORT_PATH:
            pytest.skip(f"loopback takes {path.min_rtt} s on this machine")
        client.govern(trio.current_time())
        assert congestion_control(client._socket) == "cubic"

    over_stream(certificates.ecdsa, body)


def test_little_waits_in_the_kernel(certificates: Any) -> None:
    """Beyond what is in flight: control frames would wait behind it."""

    async def body(client: TlsStream, server: TlsStream) -> None:
        for stream in (client, server):
            option = stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
            assert option <= 131_072

    over_stream(certificates.ecdsa, body)


@pytest.mark.parametrize("sends", [b"", b"\x16\x03\x01\x00\x05hello"])
def test_a_peer_gone_before_the_handshake_is_a_lost_link(sends: bytes, certificates: Any) -> None:
    async def main() -> None:
        client, server = socket_pair()
        client.sendall(sends)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        context = server_context(certificates.rsa.cert_file, certificates.rsa.key_file)
        with pytest.raises(LinkLost, match="TLS handshake failed"):
            await TlsStream.handshake(server, context)
        assert server.fileno() == -1

    trio.run(main)


@pytest.mark.parametrize("name", ["", ".example.com", "a" * 64 + ".example.com"])
def test_a_name_that_tls_does_not_take_is_a_lost_link(name: str) -> None:
    async def main() -> None:
        client, server = socket_pair()
        with server, pytest.raises(LinkLost, match="TLS handshake failed"):
            await TlsStream.handshake(client, client_context(), server_name=name)
        assert client.fileno() == -1

    trio.run(main)


def test_a_cancelled_handshake_closes_the_socket() -> None:
    async def main() -> None:
        client, server = socket_pair()
        with server, trio.move_on_after(0.01) as scope:
            await TlsStream.handshake(client, client_context(), server_name="localhost")
        assert scope.cancelled_caught
        assert client.fileno() == -1

    trio.run(main)


def test_files_that_cannot_be_used_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot use") as caught:
        server_context(tmp_path / "none.crt", tmp_path / "none.key")
    assert "\n" not in str(caught.value)


def test_a_client_of_tls_1_2_hears_at_once_that_nothing_is_renegotiated(certificates: Any) -> None:
    async def main() -> None:
        ends = socket_pair()
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        handshake = TlsHandshake(context, "localhost")
        streams: list[TlsStream] = []

        async def accept() -> None:
            context = server_context(certificates.ecdsa.cert_file, certificates.ecdsa.key_file)
            streams.append(await TlsStream.handshake(ends[1], context))

        ends[0].setblocking(False)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept)
                await tls._shake_hands(ends[0], handshake)
            client, server = TlsStream(ends[0], handshake), streams[0]
            handshake._connection.renegotiate()
            with pytest.raises(SSL.WantReadError):
                handshake._connection.do_handshake()
            client._socket.send(handshake.outgoing())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.receive_some)
                with pytest.raises(trio.BrokenResourceError, match="no renegotiation"):
                    await client.receive_some()
                nursery.cancel_scope.cancel()
            client.close()
            server.close()

    trio.run(main)


def test_a_torn_record_is_the_last_that_a_peer_gets(certificates: Any) -> None:
    """An alert behind the part that the socket took would be taken for the rest of it."""

    async def body(client: TlsStream, server: TlsStream) -> None:
        while client.send_nowait(bytes(100_000)):
            pass
        received = b""
        while len(received) < 50_000:
            received += server._socket.recv(1 << 20)
        assert server._socket.send(b"what is no record") == 17
        with pytest.raises(trio.BrokenResourceError, match=r"unexpected message|bad record type"):
            await client.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(b"")
        client.close()
        server._socket.setblocking(True)
        while piece := server._socket.recv(1 << 20):
            received += piece
        # The header that an alert has.
        assert received[-24:-19] != b"\x17\3\3\0\x13"

    over_stream(certificates.ecdsa, body)


def test_others_have_their_turns_during_a_handshake_in_many_pieces(certificates: Any) -> None:
    async def main() -> None:
        client, server = socket_pair()
        hello = TlsHandshake(client_context(), "localhost").advance()[5:]
        client.sendall(b"".join(b"\x16\3\1\0\1" + hello[n : n + 1] for n in range(len(hello))))
        client.setblocking(False)
        context = server_context(certificates.ecdsa.cert_file, certificates.ecdsa.key_file)
        turns = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(TlsStream.handshake, server, context)
            while not select.select([client], [], [], 0)[0]:
                turns += 1
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        client.close()
        assert turns > len(hello) // tls.PIECES_PER_TURN

    trio.run(main)
