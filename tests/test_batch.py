"""The buffer that several writers of datagrams share."""

from __future__ import annotations

from polevpn_trio.batch import DatagramBuffer


def test_a_buffer_grows_to_what_is_asked_of_it_and_never_shrinks() -> None:
    buffer = DatagramBuffer()
    buffer.reserve(3000, 2)
    before = buffer.datagrams
    buffer.reserve(100, 1)
    assert buffer.datagrams is before
    assert (len(buffer.datagrams), len(buffer.sizes)) == (3000, 2)
    buffer.reserve(100, 5)
    assert (len(buffer.datagrams), len(buffer.sizes)) == (3000, 5)


def test_the_view_is_of_the_same_bytes() -> None:
    buffer = DatagramBuffer(10, 1)
    buffer.reserve(20, 1)
    buffer.view[19] = 7
    assert buffer.datagrams[19] == 7
