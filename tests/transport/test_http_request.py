"""Heads of HTTP requests: what is taken for one, and what is refused with which status."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polevpn_trio.errors import BadPacket
from polevpn_trio.transport.http_request import (
    MAX_FIELDS,
    MAX_HEAD,
    MAX_LINE,
    BadRequest,
    HttpRequest,
    RequestReader,
)

HOST = b"Host: a\r\n"


def read(data: bytes) -> HttpRequest | None:
    return RequestReader().receive_data_untrusted(data)


def test_a_head_is_read_into_its_parts() -> None:
    request = read(
        b"GET /a/b?c=d HTTP/1.1\r\nHost: a.example\r\nAccept:text/html\r\n"
        b"X-Odd: \t v\xe9 \t\r\naccept: */*\r\n\r\n"
    )
    assert request == HttpRequest(
        "GET",
        "/a/b?c=d",
        1,
        {"host": "a.example", "accept": "text/html, */*", "x-odd": "v\xe9"},
    )
    assert request.path == "/a/b"


def test_requests_may_come_byte_by_byte_and_several_at_once() -> None:
    stream = b"\r\nGET /1 HTTP/1.1\nHost: a\n\nHEAD /2 HTTP/1.0\r\n\r\nrest"
    for size in (1, 2, 7, len(stream)):
        reader = RequestReader()
        found = []
        for start in range(0, len(stream), size):
            request = reader.receive_data_untrusted(stream[start : start + size])
            while request is not None:
                found.append(request.path)
                request = reader.receive_data_untrusted(b"")
        assert found == ["/1", "/2"]
        assert reader.rest == b"rest"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/", "/"),
        (b"//x", "//x"),
        (b"http://a.example/p?q", "/p"),
        (b"HTTPS://a.example", "/"),
        (b"https://a.example?x", "/"),
        (b"/%2f", "/%2f"),
    ],
)
def test_a_path_is_found_in_every_form_of_target(target: bytes, path: str) -> None:
    request = read(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert request is not None
    assert request.path == path


@pytest.mark.parametrize(
    ("status", "head"),
    [
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        (400, b"GET /\r\n\r\n"),
        (400, b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET / x HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET / HTTP/1.1x\r\n" + HOST + b"\r\n"),
        (400, b"GET / http/1.1\r\n" + HOST + b"\r\n"),
        (400, b"G@T / HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET x HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET * HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /\x7f HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        (
            400,
            b"POST / HTTP/1.1\r\n"
            + HOST
            + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, b"\r\n\r\n\r\n\r\n"),
        (400, b"\x16\x03\x01"),
        (400, b"\0"),
        (414, b"GET /" + b"x" * MAX_LINE),
        (414, b"GET /" + b"x" * MAX_LINE + b" HTTP/1.1\r\n\r\n"),
        (431, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_FIELDS + 1) + b"\r\n"),
        (431, b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * MAX_HEAD),
        (431, b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * MAX_HEAD + b"\r\n\r\n"),
        (505, b"GET / HTTP/2.0\r\n\r\n"),
        (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ],
)
def test_what_is_malformed_is_refused(status: int, head: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        read(head)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("head", "keeps_alive", "has_body"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST, True, False),
        (b"GET / HTTP/1.9\r\n" + HOST, True, False),
        (b"GET / HTTP/1.0\r\n", False, False),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Keep-Alive, CLOSE\r\n", False, False),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n", True, False),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n", False, True),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n", False, True),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST, True, False),
        (b"CONNECT a:443 HTTP/1.1\r\n" + HOST, True, False),
    ],
)
def test_only_a_request_without_a_body_keeps_the_connection(
    head: bytes, keeps_alive: bool, has_body: bool
) -> None:
    request = read(head + b"\r\n")
    assert request is not None
    assert (request.keeps_alive, request.has_body) == (keeps_alive, has_body)


def test_what_waits_of_a_head_stays_small() -> None:
    reader = RequestReader()
    first = b"GET / HTTP/1.1\r\n"
    reader.receive_data_untrusted(first)
    for _ in range((MAX_HEAD - len(first)) // 6):
        assert reader.receive_data_untrusted(b"A: b\r\n") is None
    with pytest.raises(BadRequest, match="431"):
        reader.receive_data_untrusted(b"A: b\r\n")


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"GET / HTTP/1.1\r\n", HOST, b"\r\n"])))
def test_no_bytes_raise_anything_but_bad_packet(pieces: list[bytes]) -> None:
    reader = RequestReader()
    try:
        for piece in pieces:
            reader.receive_data_untrusted(piece)
    except BadPacket:
        return
    assert len(reader.rest) <= sum(map(len, pieces))
