"""What a browser says to the dashboard, without a browser: HTTP/1.1, a connection each."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import attrs
import h11
import trio

from tests.dashboard.worlds import TOKEN

JSON = {"Content-Type": "application/json"}


@attrs.frozen
class Answer:
    """An answer; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@attrs.define
class Client:
    """Asks one dashboard, with the cookie that it was given."""

    url: str
    cookie: str = ""
    connect: Callable[[str, int], Awaitable[trio.abc.Stream]] = trio.open_tcp_stream

    async def get(self, path: str, **headers: str) -> Answer:
        async with self.asking("GET", path, headers) as (answer, pieces):
            return attrs.evolve(answer, body=b"".join([piece async for piece in pieces]))

    async def post(
        self, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        asked = JSON if headers is None else headers
        async with self.asking("POST", path, asked, content) as (answer, pieces):
            return attrs.evolve(answer, body=b"".join([piece async for piece in pieces]))

    async def login(self, token: str = TOKEN) -> Answer:
        answer = await self.post("/api/login", {"token": token})
        self.cookie = answer.headers.get("set-cookie", "").partition(";")[0]
        return answer

    @asynccontextmanager
    async def asking(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b""
    ) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        stream = await self.connect(parts.hostname, parts.port)
        connection = h11.Connection(h11.CLIENT)
        async with stream:
            sent = {"Host": parts.netloc, "Connection": "close", **headers}
            if self.cookie:
                sent["Cookie"] = self.cookie
            if method == "POST":
                sent["Content-Length"] = str(len(body))
            request = h11.Request(method=method, target=path, headers=list(sent.items()))
            data = (connection.send(request) or b"") + (connection.send(h11.Data(body)) or b"")
            await stream.send_all(data + (connection.send(h11.EndOfMessage()) or b""))
            response = await _next(stream, connection)
            while isinstance(response, h11.InformationalResponse):
                response = await _next(stream, connection)
            assert isinstance(response, h11.Response), response
            names = {name.decode(): value.decode() for name, value in response.headers}
            async with aclosing(_pieces(stream, connection)) as pieces:
                yield Answer(response.status_code, names, b""), pieces

    @asynccontextmanager
    async def following(self) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
        """News: kinds and contents."""
        async with self.asking("GET", "/api/live", {}) as (answer, pieces):
            assert answer.status == 200, answer
            assert answer.headers["content-type"].startswith("text/event-stream")
            async with aclosing(_news(pieces)) as news:
                yield news


async def _next(stream: trio.abc.Stream, connection: h11.Connection) -> object:
    with trio.fail_after(30):
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65_536)))
    return event


async def _pieces(stream: trio.abc.Stream, connection: h11.Connection) -> AsyncGenerator[bytes]:
    while isinstance(event := await _next(stream, connection), h11.Data):
        yield bytes(event.data)


async def _news(pieces: AsyncIterator[bytes]) -> AsyncGenerator[tuple[str, Any]]:
    text = ""
    async for piece in pieces:
        text += piece.decode()
        *whole, text = text.split("\n\n")
        for block in whole:
            lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
            if "event" in lines:
                yield lines["event"], json.loads(lines["data"])
