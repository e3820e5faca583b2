"""What browsers may ask: the page, logins, and with a session the API behind the page. Read-only.

::

    POST /api/login    {"token": ...}             204, and a cookie; 401, or 429 after many guesses
    POST /api/logout                              204
    GET  /api/session                             {"logged_in": true or false}
    GET  /api/live                                server-sent events: recent, status, events
    GET  /api/routes   ?search=&offset=&most=     {"routes": [...], "offset", "total", "matching"}
    GET  /api/history  ?site=&span=               {"site", "seconds", "from", "to", "points": [...]}
    GET  /api/explain  ?source=&destination=&protocol=&port=   as on the control socket

Statuses, events, routes and explanations are those of docs/API.md.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import attrs
import trio
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polevpn_trio.dashboard import pages
from polevpn_trio.dashboard.history import Busy
from polevpn_trio.dashboard.recorder import Recorder, encoded
from polevpn_trio.dashboard.sessions import SESSION_SECONDS, Doorkeeper
from polevpn_trio.dashboard.tiers import TIERS, TOTAL, Point
from polevpn_trio.management.answers import RouteEntry, Status
from polevpn_trio.management.api import (
    MOST_ROUTES,
    ApiError,
    Params,
    parse_question_untrusted,
)
from polevpn_trio.management.events import Event

SPANS = {
    "15m": (900, 0),
    "2h": (7_200, 0),
    "2d": (172_800, 1),
    "14d": (1_209_600, 2),
    "60d": (5_184_000, 2),
}
"""What a chart may show: seconds, and the tier that they are taken from."""

MOST_STREAMS = 16
"""Browsers that are told news at a time."""

MOST_EVENTS = 300
"""Events that a browser is told when it comes; the page shows no more."""

SEARCHED = 200
"""Routes that are looked at before others get their turn."""

QUIET_SECONDS = 15.0
"""Without news something is said all the same, so that nobody in between closes the connection."""

LONGEST_LOGIN = 4096
LOGIN_SECONDS = 5.0
"""Bytes of a login, and how long it may take to come."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

_JSON = "application/json"
_Handler = Callable[[Request], Awaitable[Response]]
_Say = Callable[[bytes], Awaitable[None]]


@attrs.frozen
class ApplicationStatistics:
    """Browsers that are told news now, and tokens that were wrong."""

    streams: int
    failed_logins: int


@attrs.frozen
class FoundRoutes:
    """Some of the routes that were searched for; ``total`` is the length of the whole table."""

    routes: tuple[RouteEntry, ...]
    offset: int
    matching: int
    total: int


@attrs.frozen
class PastOfSite:
    """What a chart shows, from ``start`` to ``end`` (seconds since 1970), a point each
    ``seconds``."""

    site: str
    seconds: int
    start: float
    end: float
    points: tuple[Point, ...]


@attrs.frozen
class NewEvents:
    """Events that a browser has not been told yet."""

    events: tuple[Event, ...]


class Application:
    """The ASGI application; ``secure`` says that it is served by TLS."""

    def __init__(self, recorder: Recorder, doorkeeper: Doorkeeper, *, secure: bool) -> None:
        self._recorder = recorder
        self._doorkeeper = doorkeeper
        self._secure = secure
        self._pages = pages.load()
        self._streams = 0
        routes = [
            Route("/api/login", self._login, methods=["POST"]),
            Route("/api/logout", self._logout, methods=["POST"]),
            Route("/api/session", self._session),
            Route("/api/live", self._checked(self._live)),
            Route("/api/routes", self._checked(self._routes)),
            Route("/api/history", self._checked(self._history)),
            Route("/api/explain", self._checked(self._explain)),
            *(Route(path, self._page) for path in self._pages),
        ]
        self.asgi: ASGIApp = with_headers(Starlette(routes=routes))

    def statistics(self) -> ApplicationStatistics:
        """Return the counters."""
        return ApplicationStatistics(self._streams, self._doorkeeper.failures)

    # --- What anybody may have -----------------------------------------------------------

    async def _page(self, request: Request) -> Response:
        page = self._pages[request.scope["path"]]
        headers = {"ETag": page.tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == page.tag:
            return Response(status_code=304, headers=headers)
        return Response(page.body, media_type=page.media_type, headers=headers)

    async def _login(self, request: Request) -> Response:
        if not _from_our_page(request):
            return _problem(403, "a login comes from the dashboard's own page")
        host = request.client.host if request.client is not None else ""
        now = trio.current_time()
        wait = self._doorkeeper.waits(host, now)
        if wait > 0:
            return _problem(
                429,
                f"too many wrong tokens: try again in {wait:.0f} s",
                {"Retry-After": f"{wait:.0f}"},
            )
        token = await _token(request)
        session = self._doorkeeper.login(token, host, now) if token is not None else None
        if session is None:
            return _problem(401, "that is not the token in the router's token_file")
        response = Response(status_code=204)
        response.set_cookie(
            self._doorkeeper.cookie,
            session,
            max_age=int(SESSION_SECONDS),
            path="/api",
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )
        return response

    async def _logout(self, request: Request) -> Response:
        if not _from_our_page(request):
            return _problem(403, "a logout comes from the dashboard's own page")
        self._doorkeeper.logout(request.cookies.get(self._doorkeeper.cookie, ""))
        response = Response(status_code=204)
        response.delete_cookie(
            self._doorkeeper.cookie,
            path="/api",
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )
        return response

    async def _session(self, request: Request) -> Response:
        return _json(json.dumps({"logged_in": self._ends(request) is not None}).encode())

    # --- What takes a session ------------------------------------------------------------

    def _checked(self, handler: _Handler) -> _Handler:
        async def checked(request: Request) -> Response:
            if self._ends(request) is None:
                return _problem(401, "log in first")
            try:
                return await handler(request)
            except ApiError as error:
                return _problem(400, str(error))
            except (Busy, sqlite3.Error) as error:
                return _problem(503, f"no history at the moment: {error}")

        return checked

    def _ends(self, request: Request) -> float | None:
        return self._doorkeeper.ends(
            request.cookies.get(self._doorkeeper.cookie, ""), trio.current_time()
        )

    async def _live(self, request: Request) -> Response:
        if self._streams >= MOST_STREAMS:
            return _problem(503, f"{self._streams} browsers watch already, close one of them")
        return _Stream(partial(self._tell_news, request))

    async def _tell_news(self, request: Request, say: _Say) -> None:
        recorder, events = self._recorder, self._recorder.view.program.events
        status: Status | None = None
        last = max(0, events.last - MOST_EVENTS)
        self._streams += 1
        try:
            recent = {name: list(rates) for name, rates in recorder.recent.items()}
            await say(b"retry: 2000\nevent: recent\ndata: " + await encoded(recent) + b"\n\n")
            while self._ends(request) is not None:
                with trio.move_on_after(QUIET_SECONDS) as quiet:
                    status = await recorder.newer(status)
                if quiet.cancelled_caught or status is None:
                    await say(b": still here\n\n")
                    continue
                await say(b"event: status\ndata: " + await recorder.text(status) + b"\n\n")
                found = tuple(events.after(last, MOST_EVENTS))
                if found:
                    last = found[-1].number
                    body = await encoded(NewEvents(found))
                    await say(b"event: events\ndata: " + body + b"\n\n")
            await say(b"event: logout\ndata: {}\n\n")
        finally:
            self._streams -= 1

    async def _routes(self, request: Request) -> Response:
        params = _params(request, ("offset", "most"))
        offset, most = params.whole("offset", 0, 1 << 31), params.whole("most", 100, MOST_ROUTES)
        search = request.query_params.get("search", "").strip().lower()[:100]
        wanted = _Search(search)
        found: list[RouteEntry] = []
        matching = at = total = 0
        while at == 0 or at < total:
            part = self._recorder.view.routes(at, SEARCHED)
            total = part.total
            for route in part.routes:
                if wanted.matches(route):
                    if offset <= matching < offset + most:
                        found.append(route)
                    matching += 1
            at += SEARCHED
            await trio.lowlevel.checkpoint()
        return _json(await encoded(FoundRoutes(tuple(found), offset, matching, total)))

    async def _history(self, request: Request) -> Response:
        site = request.query_params.get("site", TOTAL)
        span = SPANS.get(request.query_params.get("span", "15m"))
        if span is None:
            return _problem(400, f"span: expected one of {', '.join(SPANS)}")
        seconds, number = span
        now = time.time()
        points = await self._recorder.history.read(site, number, now - seconds)
        past = PastOfSite(site, TIERS[number].seconds, now - seconds, now, tuple(points))
        return _json(await encoded(past))

    async def _explain(self, request: Request) -> Response:
        asked = parse_question_untrusted(_params(request, ("port",)))
        found = await self._recorder.view.explain(
            asked.source, asked.destination, asked.protocol, asked.port
        )
        return _json(await encoded(found))


class _Stream(Response):
    """Says something now and then, until the browser leaves or ``tell`` returns."""

    def __init__(
        self, tell: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]]
    ) -> None:
        super().__init__(
            headers={"Cache-Control": "no-store"}, media_type="text/event-stream; charset=utf-8"
        )
        del self.headers["content-length"]
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def say(text: bytes) -> None:
            await send({"type": "http.response.body", "body": text, "more_body": True})

        async def leave() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            await self._tell(say)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            nursery.cancel_scope.cancel()


class _Search:
    """What somebody typed to find routes: an address finds the networks that hold it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._address: IPv4Address | IPv6Address | None = None
        with suppress(ValueError):
            self._address = ip_address(text)

    def matches(self, route: RouteEntry) -> bool:
        if not self._text:
            return True
        if self._address is not None and self._address in ip_network(route.network):
            return True
        return any(self._text in text.lower() for text in _searched(route))


def _searched(route: RouteEntry) -> Iterator[str]:
    yield from (route.network, route.site, route.via, route.origin, route.connection)
    if route.conflicts:
        yield "conflict"


def _params(request: Request, numbers: tuple[str, ...]) -> Params:
    """What stands behind the question mark; in ``numbers`` what should be whole numbers."""
    values: dict[str, object] = dict(request.query_params)
    for name in numbers:
        text = request.query_params.get(name)
        if text is not None:
            values[name] = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else ""
    return Params(values)


def _from_our_page(request: Request) -> bool:
    """Whether a request may change something: browsers say who sends it, and forms no JSON."""
    return (
        request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
        and request.headers.get("content-type", "").partition(";")[0].strip() == _JSON
    )


async def _token(request: Request) -> str | None:
    body = bytearray()
    try:
        with trio.fail_after(LOGIN_SECONDS):
            more = True
            while more:
                message = await request.receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > LONGEST_LOGIN:
                    return None
        token = json.loads(bytes(body))["token"]
    except (trio.TooSlowError, ValueError, RecursionError, KeyError, TypeError):
        return None
    return token if isinstance(token, str) else None


def _json(body: bytes) -> Response:
    return Response(body, media_type=_JSON, headers={"Cache-Control": "no-store"})


def _problem(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps({"problem": text})
    return Response(
        body, status, {"Cache-Control": "no-store", **(headers or {})}, media_type=_JSON
    )


def with_headers(application: ASGIApp) -> ASGIApp:
    """Add to each answer what browsers must know about all of them."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await application(scope, receive, sending)

    return wrapped
