"""What the kernel tells about a TCP connection."""

from __future__ import annotations

import socket

from polevpn_trio.transport.tcp_info import read_path, read_tcp_info


class Elsewhere:
    """A kernel that tells less."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        return bytes(104)


def test_a_connection_that_was_used_has_a_round_trip_and_segments() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        with near, far:
            for _ in range(5):
                near.sendall(b"ping")
                far.sendall(far.recv(100))
                near.recv(100)
            found = read_tcp_info(near)
    assert found is not None
    assert 0 < found.rtt < 10
    assert 0 < found.rtt_variation < 10
    assert (found.segments_sent, found.resent) == (5, 0)
    assert 576 <= found.path_mtu <= 65_535


def test_nothing_is_known_of_a_connection_that_is_gone_or_a_kernel_that_tells_less() -> None:
    with socket.socket() as closed:
        pass
    assert read_tcp_info(closed) is None
    assert read_tcp_info(Elsewhere()) is None
    assert read_path(closed) is None
    assert read_path(Elsewhere()) is None


def test_what_tcp_has_measured_is_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        dialled = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with dialled, accepted:
            before = read_path(dialled)
            for _ in range(20):
                dialled.sendall(bytes(5_000))
                accepted.recv(5_000, socket.MSG_WAITALL)
            # An answer, so that all is acknowledged.
            accepted.sendall(b"!")
            dialled.recv(1)
            after = read_path(dialled)
    assert before is not None
    assert after is not None
    assert after.resent == before.resent == 0
    assert (after.sent - before.sent) * after.segment >= 100_000
    assert (after.delivered - before.delivered) * after.segment >= 100_000
    assert 0 < after.min_rtt <= after.rtt < 1


def test_a_socket_that_is_no_tcp_tells_nothing() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        assert read_path(datagrams) is None
