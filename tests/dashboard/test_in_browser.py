"""The dashboard as people see it, in a real browser: by keyboard, in both themes, on a phone.

``POLEVPN_TRIO_SCREENSHOTS=FOLDER`` keeps the pictures that are taken on the way.
``POLEVPN_TRIO_AXE=FILE`` names axe.min.js of axe-core (``npm pack axe-core``), which then judges
each page in both themes by the rules for people who do not see well, or have no mouse.
"""

from __future__ import annotations

import logging
import math
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from polevpn_trio.dashboard import recorder
from polevpn_trio.dashboard.store import HistoryStore
from polevpn_trio.dashboard.tiers import TIERS, TOTAL, Cell, beginning
from polevpn_trio.forwarding.policy.rules import Policy, Rule
from tests.dashboard.browser import CHROMIUM, Tab, browsing
from tests.dashboard.worlds import TOKEN, World, dashboard_of
from tests.forwarding.policy.packets import tcp

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")

DRAWN = """document.querySelector(".plot canvas") &&
[...document.querySelectorAll(".plot canvas")].every((canvas) => {
    if (!canvas.width || !canvas.height) return false;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const columns = new Set();
    for (let at = 0; at < data.length; at += 4) {
        const colours = [data[at], data[at + 1], data[at + 2]];
        const vivid = data[at + 3] > 128 && Math.max(...colours) - Math.min(...colours) > 80;
        if (vivid) columns.add((at / 4) % canvas.width);
    }
    return columns.size > canvas.width / 3;
})"""
"""All charts have lines on them: grid and texts are grey, and these are not."""

HISTORY_SECONDS = 900
"""What the router remembers of the sites when the walk begins: as much as a chart shows."""

AXE = os.environ.get("POLEVPN_TRIO_AXE")
JUDGED = """axe.run(document, {resultTypes: ["violations"]}).then((found) => found.violations
.filter((each) => ["serious", "critical"].includes(each.impact))
.flatMap((each) => each.nodes.map((node) => `${each.id}: ${each.help}: ${node.target}`)))"""

PHONE = 390
"""Width in pixels."""
FITS = f"document.documentElement.scrollWidth <= {PHONE}"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("POLEVPN_TRIO_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(recorder, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(recorder, "WRITE_SECONDS", 0.5)
    package = logging.getLogger("polevpn_trio")
    level = package.level
    package.setLevel(logging.INFO)
    yield
    package.setLevel(level)


PAGES = {
    "overview": "#/",
    "site": "#/site/oslo",
    "routes": "#/routes",
    "explain": "#/explain?source=192.168.3.9&destination=192.168.1.9&protocol=tcp&port=22",
    "policy": "#/policy",
    "events": "#/events",
}

POLICY = Policy(
    (
        Rule("web", True, (), ("berlin",), frozenset({6}), ((80, 80), (443, 443))),
        Rule("no ssh", False, (), (), frozenset({6}), ((22, 22),)),
        Rule("ping", True, (), (), frozenset({1, 58})),
    ),
)


def remember(file: Path) -> None:
    """Write a quarter of an hour of ups and downs."""
    tier, now = TIERS[0], time.time()
    batch = {}
    for name, amount in (("berlin", 2e6), ("oslo", 3e5), ("paris", 4e4), (TOTAL, 2.3e6)):
        source = random.Random(name)
        for ago in range(0, HISTORY_SECONDS, tier.seconds):
            swing = 0.6 + 0.3 * math.sin(ago / 130) + source.uniform(0, 0.2)
            rtt, loss = 0.02 + source.uniform(0, 0.006), source.uniform(0.001, 0.02)
            batch[0, name, beginning(tier, now - ago)] = Cell(
                seconds=tier.seconds,
                up_seconds=tier.seconds,
                bytes_sent=amount * swing * tier.seconds,
                bytes_received=0.4 * amount * swing * tier.seconds,
                rtt_seconds=tier.seconds,
                rtt_area=rtt * tier.seconds,
                rtt_worst=rtt + source.uniform(0, 0.01),
                loss_seconds=tier.seconds,
                loss_area=loss * tier.seconds,
                unrepaired_area=loss / 20 * tier.seconds,
            )
    store = HistoryStore(file)
    store.write(batch)
    store.close()


async def log_in(tab: Tab) -> None:
    """As somebody does who has no mouse."""
    await tab.wait_until("document.activeElement?.id === 'token'")
    await tab.type("not the token, not at all")
    await tab.press("Enter", 13, "\r")
    await tab.wait_for_text("That is not the token", "#login-problem")
    await tab.type(TOKEN)
    await tab.press("Enter", 13, "\r")
    await tab.wait_until("document.querySelector('.map')")


async def check_access(tab: Tab, world: World) -> None:
    """Have axe-core look at the page as it is, in both themes and sizes, if it is there."""
    if AXE is None:
        return
    await tab.evaluate(await trio.Path(AXE).read_text() + "; undefined")
    # While axe looks, what it has seen must not change.
    with world.at_rest():
        for scheme in ("light", "dark"):
            for width, phone in ((PHONE, True), (1280, False)):
                await tab.appear(width, 900, scheme, phone=phone)
                # Colours fade from one theme to the other.
                await tab.wait_until(
                    "document.getAnimations().every((each) => each.playState !== 'running')"
                )
                found = set(await tab.evaluate(JUDGED))
                if found:
                    # The last news may have come only then.
                    found &= set(await tab.evaluate(JUDGED))
                assert not found, (scheme, width)


async def explain_by_keyboard(tab: Tab, world: World, pictures: Path) -> None:
    """A packet by protocol and port: the rule that drops it is named, and mistakes are."""
    await tab.evaluate("location.hash = '#/explain'")
    await tab.wait_until("document.querySelector('#way-source')")
    assert await tab.evaluate("document.querySelector('#way-port').disabled")
    await tab.evaluate("document.querySelector('#way-source').focus()")
    await tab.type("192.168.3.9")
    await tab.press("Tab", 9)
    await tab.type("192.168.1.")
    await tab.press("Tab", 9)
    await tab.press("t", 84, "t")
    await tab.wait_until("!document.querySelector('#way-port').disabled")
    await tab.press("Tab", 9)
    await tab.type("22")
    await tab.press("Enter", 13, "\r")
    await tab.wait_for_text("Destination: expected an IP address", "#way-problem")
    await tab.wait_until("document.querySelector('#way-destination[aria-invalid]')")
    await tab.evaluate("document.querySelector('#way-destination').focus()")
    await tab.type("9")
    await tab.press("Enter", 13, "\r")
    await tab.wait_for_text("dropped", ".answer .badge")
    await tab.wait_for_text("192.168.3.9 → 192.168.1.9: denied", ".answer h2")
    await tab.wait_for_text('rule "no ssh": deny any to any, tcp port 22', ".answer .facts")
    await tab.wait_for_text('rule "web"', ".answer .alternatives")
    await tab.wait_until("location.hash.endsWith('&protocol=tcp&port=22')")
    await tab.wait_until("!document.querySelector('[aria-invalid]')")
    await tab.screenshot(pictures / "explain-dark.png")
    await check_access(tab, world)


async def watch_the_policy(tab: Tab, world: World, pictures: Path) -> None:
    """The counter of a rule moves as it denies."""
    await tab.evaluate("location.hash = '#/policy'")
    await tab.wait_for_text("deny any to any, tcp port 22", "table.rules")
    ssh = "[...document.querySelectorAll('table.rules tbody tr')][1].innerText"
    assert "s ago" not in await tab.evaluate(ssh)
    assert world.send(tcp("192.168.2.9", 999, "192.168.1.9", 443), "oslo", "berlin")
    assert not world.send(tcp("192.168.3.9", 999, "192.168.1.9", 22), "paris", "berlin")
    await tab.wait_until("document.querySelector('table.rules tr.denies')")
    assert "s ago" in await tab.evaluate(ssh)
    await tab.wait_for_text("1 of at most 65,536", "main")
    await tab.screenshot(pictures / "policy-dark.png")
    await check_access(tab, world)


async def walk(tab: Tab, world: World, pictures: Path) -> None:
    await tab.appear(1280, 900, "light")
    await check_access(tab, world)
    await tab.appear(1280, 900, "light")
    await tab.screenshot(pictures / "login-light.png")
    await log_in(tab)
    await tab.wait_for_text("All 3 sites are up", ".attention")
    await tab.screenshot(pictures / "overview-up.png")

    # A site goes down: that comes first, with the reason and what to do, and is read out.
    world.leave("oslo")
    await tab.wait_for_text("1 site is down", ".attention h2")
    for told in ("oslo", "Nothing heard for 60 s", "What to do:"):
        await tab.wait_for_text(told, ".attention li")
    await tab.wait_for_text("oslo is down", "#announcer")
    await tab.wait_until("document.querySelector('.map .node.down[href=\"#/site/oslo\"]')")
    await tab.wait_until("document.title.startsWith('(1 down)')")
    await tab.wait_until(DRAWN)
    await tab.screenshot(pictures / "overview-down.png")
    await check_access(tab, world)

    # The keyboard reaches the site on the map, and its page says more.
    await tab.evaluate("document.querySelector('.map .node.down').focus()")
    await tab.press("Enter", 13, "\r")
    await tab.wait_for_text("oslo", "h1")
    await tab.wait_until("document.querySelectorAll('.plot canvas').length === 3")
    await tab.wait_until(DRAWN)
    await check_access(tab, world)
    await tab.appear(1280, 900, "dark")
    await tab.screenshot(pictures / "site-down-dark.png")

    world.join("oslo")
    await tab.wait_until("document.querySelector('.attention.up .badge.up')")
    await tab.wait_for_text("oslo is up", "#announcer")

    await tab.evaluate("location.hash = '#/routes?search=192.168.1.9'")
    await tab.wait_for_text("192.168.1.0/24", "table.routes")
    await tab.wait_for_text("1 of 6 routes", "main")
    await tab.screenshot(pictures / "routes-dark.png")
    await check_access(tab, world)
    await tab.evaluate("location.hash = '#/events'")
    await tab.wait_for_text("dashboard at http://", ".events")
    await check_access(tab, world)

    await explain_by_keyboard(tab, world, pictures)
    await watch_the_policy(tab, world, pictures)
    await tab.evaluate("location.hash = '#/events'")

    # What a site says is text, whatever it says.
    logging.getLogger("polevpn_trio.test").info("<img src=/x onerror=alert(1)><b>bold</b>")
    world.join("<img src=x>")
    await tab.wait_for_text("<img src=/x onerror=alert(1)><b>bold</b>", ".events")
    await tab.evaluate("location.hash = '#/'")
    await tab.wait_for_text("<img src=x>", "table.sites")
    await tab.evaluate("location.hash = '#/site/%3Cimg%20src%3Dx%3E'")
    await tab.wait_for_text("<img src=x>", "h1")
    assert await tab.evaluate("document.querySelectorAll('main img, .events b').length") == 0

    # On a phone nothing sticks out at the side.
    await tab.appear(PHONE, 844, "dark", phone=True)
    for name, page in PAGES.items():
        await tab.evaluate(f"location.hash = {page!r}")
        await tab.wait_until("document.querySelector('main .card, main .attention')")
        if name == "explain":
            await tab.wait_for_text("dropped", ".answer")
        if name in ("overview", "site"):
            await tab.wait_until(DRAWN)
        await tab.wait_until(FITS)
        await tab.wait_until(
            "[...document.querySelectorAll('nav a')].every((each) => "
            f"each.getBoundingClientRect().right <= {PHONE})"
        )
        await tab.screenshot(pictures / f"{name}-phone-dark.png")
    await tab.appear(1280, 900, "light")
    for name, page in PAGES.items():
        await tab.evaluate(f"location.hash = {page!r}")
        await tab.wait_until("document.querySelector('main .card, main .attention')")
        if name in ("overview", "site"):
            await tab.wait_until(DRAWN)
        await tab.screenshot(pictures / f"{name}-light.png")
    await tab.evaluate("location.hash = '#/'")
    await tab.wait_for_text("All 4 sites are up", ".attention")

    await tab.evaluate("document.getElementById('logout').click()")
    await tab.wait_until("document.activeElement?.id === 'token'")
    # Browsers complain of every refusal: of the wrong token, and of half an address.
    expected = [
        line
        for line in tab.complaints
        if ("status of 401" in line and "/api/login" in line)
        or ("status of 400" in line and "destination=192.168.1.&" in line)
    ]
    assert [line for line in tab.complaints if line not in expected] == []


def test_somebody_logs_in_and_sees_a_site_go_down_and_come_back(
    tmp_path: Path, pictures: Path
) -> None:
    history = tmp_path / "history.sqlite"
    remember(history)

    async def main() -> None:
        async with dashboard_of(tmp_path, history, policy=POLICY) as world:
            for name, rate in (("berlin", 2e6), ("oslo", 3e5), ("paris", 0.0)):
                world.join(name, rate=rate)
            with trio.fail_after(280):
                async with browsing(world.url) as tab:
                    await walk(tab, world, pictures)

    trio.run(main)
