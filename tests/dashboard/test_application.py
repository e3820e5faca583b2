"""What browsers get from a dashboard that really serves: pages, logins, news, and refusals."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from polevpn_trio.dashboard import application, recorder
from polevpn_trio.dashboard.application import MOST_STREAMS
from polevpn_trio.dashboard.sessions import GUESSES
from polevpn_trio.forwarding.policy.rules import Policy, Rule
from tests.dashboard.clients import JSON, Client
from tests.dashboard.worlds import World, dashboard_of
from tests.forwarding.policy.packets import tcp

PAGES = Path(application.__file__).parent / "static"
ASKED = ("/api/live", "/api/routes", "/api/history", "/api/explain")

Body = Callable[[World, Client], Awaitable[None]]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(recorder, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(recorder, "WRITE_SECONDS", 0.0)
    package = logging.getLogger("polevpn_trio")
    level = package.level
    package.setLevel(logging.INFO)
    yield
    package.setLevel(level)


def with_dashboard(folder: Path, body: Body, policy: Policy | None = None) -> None:
    async def main() -> None:
        async with dashboard_of(folder, policy=policy) as world:
            world.join("berlin", rate=1e6)
            world.join("oslo")
            with trio.fail_after(60):
                await body(world, Client(world.url))

    trio.run(main)


async def until(
    news: AsyncIterator[tuple[str, Any]], kind: str, wanted: Callable[[Any], bool]
) -> Any:
    async for found, content in news:
        if found == kind and wanted(content):
            return content
    raise AssertionError(f"the news ended without {kind}")


def test_everybody_gets_the_page_and_what_belongs_to_it(tmp_path: Path) -> None:
    async def body(world: World, client: Client) -> None:
        page = await client.get("/")
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        for path in re.findall(r'(?:src|href)="(/[^"]+)"', page.body.decode()):
            part = await client.get(path)
            assert part.status == 200, path
            again = await client.get(path, **{"If-None-Match": part.headers["etag"]})
            assert (again.status, again.body) == (304, b"")
        assert (await client.get("/server.py")).status == 404

    with_dashboard(tmp_path, body)


def test_every_answer_says_that_nothing_foreign_may_run_in_it(tmp_path: Path) -> None:
    async def body(world: World, client: Client) -> None:
        for path in ("/", "/app.js", "/nothing", *ASKED):
            headers = (await client.get(path)).headers
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self';"), path
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert "server" not in headers

    with_dashboard(tmp_path, body)


def test_no_page_needs_what_the_policy_forbids() -> None:
    html = (PAGES / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|https?://", html)
    for file in PAGES.glob("*.js"):
        text = file.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function", text)
        for module in re.findall(r'from "(/[^"]+)"', text):
            assert (PAGES / module[1:]).exists()


def test_nothing_of_the_network_is_told_without_a_session(tmp_path: Path) -> None:
    async def body(world: World, client: Client) -> None:
        for cookie in ("", "polevpn-session=guess", "polevpn-session="):
            client.cookie = cookie
            assert (await client.get("/api/session")).json() == {"logged_in": False}
            for path in ASKED:
                answer = await client.get(path)
                assert (answer.status, answer.json()) == (401, {"problem": "log in first"})

    with_dashboard(tmp_path, body)


def test_the_token_opens_a_session_that_only_this_page_can_use(tmp_path: Path) -> None:
    async def body(world: World, client: Client) -> None:
        answer = await client.login()
        assert (answer.status, answer.body) == (204, b"")
        cookie = answer.headers["set-cookie"].lower()
        for part in ("httponly", "samesite=strict", "path=/api", "max-age=43200"):
            assert part in cookie
        assert "; secure" not in cookie
        assert (await client.get("/api/session")).json() == {"logged_in": True}
        assert (await client.get("/api/routes")).status == 200
        assert (await client.post("/api/logout")).status == 204
        assert (await client.get("/api/routes")).status == 401

    with_dashboard(tmp_path, body)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"token": 7}', b'{"token": "wrong"}', b"[" * 4096, b"x" * 9000]
)
def test_nothing_else_does(tmp_path: Path, content: bytes) -> None:
    async def body(world: World, client: Client) -> None:
        answer = await client.post("/api/login", content)
        assert answer.status == 401
        assert "set-cookie" not in answer.headers

    with_dashboard(tmp_path, body)


def test_who_guesses_has_to_wait(tmp_path: Path) -> None:
    async def body(world: World, client: Client) -> None:
        for _ in range(GUESSES):
            assert (await client.login("guess")).status == 401
        late = await client.login()
        assert late.status == 429
        assert 0 < int(late.headers["retry-after"]) <= 10

    with_dashboard(tmp_path, body)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {**JSON, "Sec-Fetch-Site": "cross-site"},
        {**JSON, "Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_can_neither_log_in_nor_out(tmp_path: Path, headers: dict[str, str]) -> None:
    async def body(world: World, client: Client) -> None:
        await client.login()
        for path in ("/api/login", "/api/logout"):
            assert (await client.post(path, {}, headers)).status == 403
        assert (await client.get("/api/session")).json() == {"logged_in": True}

    with_dashboard(tmp_path, body)


def test_a_browser_sees_a_site_go_down_and_come_back(tmp_path: Path) -> None:
    async def body(world: World, client: Client) -> None:
        await client.login()
        async with client.following() as news:
            first = await until(news, "status", lambda status: status["sites"])
            assert [site["state"] for site in first["sites"]] == ["up", "up"]
            assert first["sites"][0]["link"]["rates"]["bytes_sent"] > 0
            world.leave("oslo")
            down = await until(news, "status", lambda status: status["state"] == "down")
            trouble = down["sites"][1]["troubles"][0]
            assert trouble["what"] == "nothing heard for 60 s"
            assert trouble["advice"].startswith("see whether")
            world.join("oslo")
            await until(news, "status", lambda status: status["state"] == "up")

    with_dashboard(tmp_path, body)


def test_a_browser_is_told_what_was_carried_before_it_came(tmp_path: Path) -> None:
    async def body(world: World, client: Client) -> None:
        await client.login()
        async with client.following() as news:
            await until(news, "status", lambda status: status["sites"])
        async with client.following() as news:
            recent = await until(news, "recent", lambda _: True)
        assert set(recent) == {"berlin", "oslo"}
        assert recent["berlin"][-1] > 0
        assert recent["oslo"][-1] == 0

    with_dashboard(tmp_path, body)


def test_events_are_told_once_each_the_old_ones_first(tmp_path: Path) -> None:
    log = logging.getLogger("polevpn_trio.test")

    async def body(world: World, client: Client) -> None:
        await client.login()
        log.info("one")
        seen: list[str] = []
        async with client.following() as news:
            while "two" not in seen:
                found = await until(news, "events", lambda _: True)
                seen += [event["message"] for event in found["events"]]
                if "one" in seen and "two" not in seen:
                    log.warning("two")
        assert seen.count("one") == 1
        assert seen[0].startswith("dashboard at http://127.0.0.1:")

    with_dashboard(tmp_path, body)


def test_news_end_with_the_session(tmp_path: Path) -> None:
    async def body(world: World, client: Client) -> None:
        await client.login()
        async with client.following() as news:
            await until(news, "status", lambda _: True)
            await client.post("/api/logout")
            await until(news, "logout", lambda _: True)
            assert [kind async for kind, _ in news] == []

    with_dashboard(tmp_path, body)


def test_only_so_many_browsers_are_told_news(tmp_path: Path) -> None:
    async def body(world: World, client: Client) -> None:
        await client.login()

        async def watch(*, task_status: trio.TaskStatus[None]) -> None:
            async with client.following() as news:
                await until(news, "status", lambda _: True)
                task_status.started()
                await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            for _ in range(MOST_STREAMS):
                await nursery.start(watch)
            assert (await client.get("/api/live")).status == 503
            nursery.cancel_scope.cancel()

    with_dashboard(tmp_path, body)


def test_routes_are_found_by_what_they_say_and_what_they_hold(tmp_path: Path) -> None:
    async def body(world: World, client: Client) -> None:
        await client.login()

        async def search(text: str) -> list[str]:
            found = (await client.get(f"/api/routes?search={text}")).json()
            assert (found["matching"], found["total"]) == (len(found["routes"]), 4)
            return [route["network"] for route in found["routes"]]

        assert len(await search("")) == 4
        assert await search("192.168.2.77") == ["192.168.2.0/24"]
        assert await search("168.2.") == ["192.168.2.0/24"]
        assert sorted(await search("OSLO")) == ["10.8.0.3", "192.168.2.0/24"]
        assert await search("2001:db8::1") == []
        part = (await client.get("/api/routes?offset=1&most=2")).json()
        assert (len(part["routes"]), part["matching"], part["offset"]) == (2, 4, 1)
        for wrong in ("offset=-1", "most=x", "offset=99999999999"):
            assert (await client.get(f"/api/routes?{wrong}")).status == 400

    with_dashboard(tmp_path, body)


def test_the_past_of_a_site_can_be_charted(tmp_path: Path) -> None:
    async def body(world: World, client: Client) -> None:
        await client.login()
        past: Any = {"points": []}
        while not past["points"]:
            past = (await client.get("/api/history?site=berlin&span=2h")).json()
        assert past["end"] - past["start"] == 7200
        assert past["points"][0]["sent"] > 0
        assert past["points"][0]["up"] == 1
        assert (await client.get("/api/history?site=nobody")).json()["points"] == []
        assert (await client.get("/api/history?span=century")).status == 400

    with_dashboard(tmp_path, body)


def test_the_way_of_a_packet_is_explained(tmp_path: Path) -> None:
    async def body(world: World, client: Client) -> None:
        await client.login()
        way = (await client.get("/api/explain?source=192.168.1.1&destination=192.168.2.1")).json()
        assert (way["verdict"], way["site"]) == ("delivered", "oslo")
        for wrong in ("source=1.2.3.4", "source=1.2.3.4&destination=fd00::1"):
            assert (await client.get(f"/api/explain?{wrong}")).status == 400

    with_dashboard(tmp_path, body)


def test_the_policy_decides_by_protocol_and_port_and_its_counters_are_told(tmp_path: Path) -> None:
    async def body(world: World, client: Client) -> None:
        await client.login()
        question = "/api/explain?source=192.168.1.1&destination=192.168.2.1"
        ssh = (await client.get(f"{question}&protocol=tcp&port=22")).json()
        assert (ssh["verdict"], ssh["reason"]) == ("dropped", "denied")
        assert ssh["policy"] == 'rule "no ssh": deny any to any, tcp port 22'
        for open_one in ("&protocol=tcp&port=443", "&protocol=17&port=22", "&protocol=icmp"):
            assert (await client.get(question + open_one)).json()["verdict"] == "delivered"
        for wrong, name in (
            ("&protocol=tcp&port=x", "port"),
            ("&protocol=tcp&port=70000", "port"),
            ("&protocol=icmp&port=22", "port"),
            ("&protocol=carrier", "protocol"),
            ("&potr=22", "unknown parameter"),
        ):
            refused = await client.get(question + wrong)
            assert refused.status == 400
            assert refused.json()["problem"].startswith(name)
        assert not world.send(tcp("192.168.1.1", 5000, "192.168.2.1", 22), "berlin", "oslo")
        async with client.following() as news:

            def denials(status: Any) -> dict[str, int]:
                return {rule["name"]: rule["denied"] for rule in status["policy"]["rules"]}

            status = await until(news, "status", lambda status: denials(status)["no ssh"] > 0)
        assert denials(status) == {"no ssh": 1, "default": 0, "unrelated": 0}

    with_dashboard(
        tmp_path, body, Policy((Rule("no ssh", False, (), (), frozenset({6}), ((22, 22),)),))
    )
