"""What browsers, and who pretends to be one, ask of the dashboard."""

from __future__ import annotations

import json
from collections import defaultdict
from ipaddress import ip_address, ip_network
from typing import Any

import attrs
import trio
from trio.testing import MockClock

from tests.fuzz.builds import Build
from tests.fuzz.draw import Draw
from tests.fuzz.targets.texts import NOWHERE
from tests.management.sites import Peer

TOKEN = "a token that is long enough"
SESSION_PATHS = ("/api/live", "/api/routes", "/api/history", "/api/explain")
PATHS = (*SESSION_PATHS, "/api/login", "/api/login", "/api/logout", "/api/session", "/", "/nothing")
METHODS = ("GET", "GET", "POST", "POST", "HEAD", "PUT")
STATUSES = {200, 204, 400, 401, 403, 404, 405, 429}
JSON = b"application/json"


@attrs.frozen
class Answer:
    """An answer as ASGI has it; ``headers`` holds all of a name."""

    status: int
    headers: dict[bytes, list[bytes]]
    body: bytes


def dashboard(build: Build, draw: Draw) -> object:
    """Only the token opens a session, without one nothing is told, and no error is ours."""
    # Trio's own time differs from run to run, and so would when a session ends.
    return trio.run(_visit, build, draw, clock=MockClock())


async def _visit(build: Build, draw: Draw) -> object:
    doorkeeper = build["dashboard.sessions"].Doorkeeper(TOKEN)
    application = build["dashboard.application"].Application(
        _recorder(build), doorkeeper, secure=draw.flag()
    )
    session = doorkeeper.login(TOKEN, "::1", trio.current_time())
    trace = []
    for _ in range(1 + draw.byte() % 8):
        path, method = draw.of(PATHS), draw.of(METHODS)
        headers = [(b"content-type", draw.of((JSON, JSON + b"; charset=utf-8", b"text/plain")))]
        has_session = draw.flag()
        if has_session:
            headers.append((b"cookie", f"{doorkeeper.cookie}={session}".encode()))
        elif draw.flag():
            headers.append((b"cookie", doorkeeper.cookie.encode() + b"=" + draw.piece()))
        if draw.flag():
            headers.append((b"sec-fetch-site", draw.of((b"same-origin", b"cross-site", b"none"))))
        asked = draw.piece()
        body = draw.of((b"", json.dumps({"token": TOKEN}).encode(), draw.piece()))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": asked,
            "root_path": "",
            "headers": headers,
            "client": draw.of((("192.0.2.1", 4000), ("::ffff:192.0.2.1", 1), None)),
            "server": ("127.0.0.1", 9443),
        }
        answer = await _answer(application.asgi, scope, body)
        assert answer.status in STATUSES
        assert answer.headers[b"content-security-policy"]
        if path in SESSION_PATHS:
            assert (answer.status == 401) == (method in ("GET", "HEAD") and not has_session)
        if b"set-cookie" in answer.headers and path == "/api/login":
            assert _holds_token(body)
            assert headers[0][1].startswith(JSON)
            assert (b"sec-fetch-site", b"cross-site") not in headers
        if answer.status >= 400 and path != "/nothing" and answer.status != 405:
            assert list(json.loads(answer.body)) == ["problem"]
        if path == "/api/logout" and answer.status == 204:
            session = doorkeeper.login(TOKEN, "::1", trio.current_time())
        trace.append((answer.status, path))
    return trace


def _recorder(build: Build) -> Any:
    """Give what the application reads from: a router with one site, and no history yet."""
    forwarder = build["forwarding.forwarder"].Forwarder()
    roster = build["management.roster"].Roster()
    peer, has = Peer(), ([ip_address("10.8.0.2")], [ip_network("192.168.1.0/24")])
    roster.joined(peer, "berlin", *has, peer.connected())
    forwarder.register(peer, *has)
    program = build["management.view"].Program(
        "router", NOWHERE, (), build["management.events"].EventLog(), None
    )
    view = build["management.router_view"].RouterView(
        program, None, build["management.routing"].RouterTable(forwarder, roster), int
    )
    return build["dashboard.recorder"].Recorder(view, build["dashboard.history"].History(NOWHERE))


def _holds_token(body: bytes) -> bool:
    try:
        return bool(json.loads(body)["token"] == TOKEN)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


async def _answer(asgi: Any, scope: dict[str, Any], body: bytes) -> Answer:
    """Ask, and leave: the body comes in two parts, and then the browser is gone."""
    half = len(body) // 2
    parts = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:], "more_body": False},
    ]
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        said.append(message)

    await asgi(scope, receive, send)
    headers = defaultdict(list)
    for name, value in said[0]["headers"]:
        headers[name].append(value)
    return Answer(
        said[0]["status"], dict(headers), b"".join(each.get("body", b"") for each in said[1:])
    )
