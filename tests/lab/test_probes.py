"""The probes measure what they say; the loopback device and, mostly, no privileges will do."""

from __future__ import annotations

import hashlib
import json
import math
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.lab import probes
from polevpn_trio.lab.probes import EchoResult, TransferResult


def echo_result(*round_trips: float, sent: int = 0) -> EchoResult:
    return EchoResult(
        sent=sent or len(round_trips),
        received=len(round_trips),
        duplicates=0,
        corrupted=0,
        refused=0,
        round_trips=round_trips,
    )


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def tcp_server(connections: int = 1) -> Iterator[int]:
    port = free_port(socket.SOCK_STREAM)
    listening = threading.Event()
    thread = threading.Thread(
        target=probes.serve_tcp,
        args=(port,),
        kwargs={"ready": listening.set, "connections": connections},
    )
    thread.start()
    assert listening.wait(5)
    yield port
    thread.join(5)
    assert not thread.is_alive()


# --- Results


def test_figures_of_an_echo_result() -> None:
    result = echo_result(3.0, 1.0, 2.0, 6.0, sent=5)
    assert (result.minimum, result.average, result.maximum, result.lost) == (1.0, 3.0, 6.0, 1)


def test_percentile_is_the_nearest_rank() -> None:
    result = echo_result(*map(float, range(100, 0, -1)))
    assert [result.percentile(p) for p in (0, 1, 50, 99, 99.5, 100)] == [1, 1, 50, 99, 100, 100]


def test_without_replies_there_are_no_figures() -> None:
    result = echo_result(sent=4)
    assert math.isnan(result.minimum)
    assert math.isnan(result.average)
    assert math.isnan(result.percentile(99))
    assert "avg_ms" not in result.as_json()


def test_results_survive_json() -> None:
    echo = echo_result(0.25, 0.5, sent=3)
    assert EchoResult.from_json(json.loads(json.dumps(echo.as_json()))) == echo
    transfer = TransferResult(1_000_000, 0.5, True)
    document = json.loads(json.dumps(transfer.as_json()))
    assert document["mbit_per_s"] == 16.0
    assert TransferResult.from_json(document) == transfer


@given(st.binary(max_size=200))
def test_checksum_makes_the_whole_sum_to_zero(data: bytes) -> None:
    # RFC 1071: with its checksum in place, the one's complement sum is all ones.
    padded = data + b"\0" * (len(data) % 2)
    packet = padded + struct.pack("!H", probes.internet_checksum(data))
    assert probes.internet_checksum(packet) == 0


def test_checksum_of_rfc_1071s_example() -> None:
    assert probes.internet_checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF ^ 0xDDF2


# --- ICMP


@pytest.fixture
def icmp() -> None:
    try:
        probes._echo_socket(4).close()
    except PermissionError:
        pytest.skip("neither ping sockets nor raw sockets are permitted here")


@pytest.mark.usefixtures("icmp")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("size", [0, 56, 2000, 40000])
def test_ping_is_answered(address: str, size: int) -> None:
    if ":" in address and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    result = probes.ping(address, count=3, interval=0.001, size=size)
    assert (result.sent, result.received, result.lost) == (3, 3, 0)
    assert (result.duplicates, result.corrupted, result.refused) == (0, 0, 0)
    assert len(result.round_trips) == 3
    assert all(one > 0 for one in result.round_trips)


@pytest.mark.usefixtures("icmp")
def test_pings_at_the_same_time_do_not_take_each_others_replies() -> None:
    results: list[EchoResult] = []

    def one() -> None:
        results.append(probes.ping("127.0.0.1", count=50, interval=0.0005))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(r.received, r.duplicates, r.corrupted) for r in results] == [(50, 0, 0)] * 4


@pytest.mark.usefixtures("icmp")
def test_sequence_numbers_wrap() -> None:
    result = probes.ping("127.0.0.1", count=66_000, interval=0, size=0)
    assert result.received + result.lost == 66_000
    assert result.corrupted == 0
    assert result.received > 65_536


# --- UDP


def test_udp_replies_are_compared_with_their_requests() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer_badly() -> None:
            for turn in range(4):
                data, address = server.recvfrom(2000)
                # In turn: as it is, twice, with a changed byte, too short for its number.
                replies = [[data], [data, data], [data[:-1] + b"~~"], [data[:1]]][turn]
                for reply in replies:
                    server.sendto(reply, address)

        thread = threading.Thread(target=answer_badly)
        thread.start()
        port = server.getsockname()[1]
        result = probes.udp_echo("127.0.0.1", port, count=4, interval=0.01, timeout=0.2)
        thread.join()
    assert (result.sent, result.received) == (4, 2)
    assert (result.duplicates, result.corrupted, result.lost) == (1, 1, 2)


def test_refused_datagrams_are_counted() -> None:
    port = free_port(socket.SOCK_DGRAM)
    result = probes.udp_echo("127.0.0.1", port, count=1, size=70_000, timeout=0.05)
    assert (result.sent, result.refused, result.received) == (1, 1, 0)


# --- TCP


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("size", [1, probes.CHUNK, 3 * probes.CHUNK + 5])
def test_transfer_moves_exactly_that_many_bytes(direction: str, size: int) -> None:
    with tcp_server() as port:
        result = probes.transfer("127.0.0.1", port, size=size, direction=direction)
    assert (result.transferred, result.intact) == (size, True)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_transfer_by_time(direction: str) -> None:
    with tcp_server() as port:
        result = probes.transfer("127.0.0.1", port, seconds=0.05, direction=direction)
    assert result.intact
    assert result.transferred > 0
    assert result.megabits_per_second > 0


def test_one_server_serves_several_transfers_and_survives_strangers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with tcp_server(connections=3) as port:
        socket.create_connection(("127.0.0.1", port)).close()
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.0\n")
            assert stranger.recv(1) == b""
        assert probes.transfer("127.0.0.1", port, size=1000).intact
    assert capsys.readouterr().err.count("transfer failed") == 2


@pytest.mark.parametrize(
    "change", [lambda b: bytes([b[0] ^ 1]) + b[1:], lambda b: b[::-1]], ids=["bit", "order"]
)
def test_damage_is_noticed(change: Callable[[bytes], bytes]) -> None:
    left, right = socket.socketpair()
    with left, right:
        content = os.urandom(100)
        digest = hashlib.sha256(content).digest()
        header = probes._CHUNK_HEADER
        left.sendall(header.pack(100) + change(content) + header.pack(0) + digest)
        assert not probes._receive_bulk(right).intact


def test_an_end_in_the_middle_is_an_error() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(probes._CHUNK_HEADER.pack(100) + b"only this")
        left.close()
        with pytest.raises(ConnectionError, match="middle"):
            probes._receive_bulk(right)


# --- Command line


def test_command_line_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    with tcp_server() as port:
        assert probes.main(["tcp", "127.0.0.1", str(port), "--bytes", "5000"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["transferred"], document["intact"]) == (5000, True)


def test_command_line_reports_failure_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port(socket.SOCK_STREAM)
    assert probes.main(["tcp", "127.0.0.1", str(port), "--bytes", "1"]) == 1
    assert "refused" in json.loads(capsys.readouterr().out)["error"]


def test_exit_status_tells_of_losses(capsys: pytest.CaptureFixture[str]) -> None:
    port = str(free_port(socket.SOCK_DGRAM))
    assert probes.main(["udp", "127.0.0.1", port, "--count", "2", "--timeout", "0.05"]) == 1
    assert json.loads(capsys.readouterr().out)["lost"] == 2
