"""A real browser without a window, driven over the DevTools protocol of Chromium."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

START_SECONDS = 60.0
WAIT_SECONDS = 60.0
END_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 0.1

MAX_MESSAGE = 32 << 20
"""Bytes; screenshots come in one message."""


@attrs.define
class Tab:
    """The one tab of a browser. ``complaints`` is all that its console said, and what failed."""

    socket: WebSocketConnection
    complaints: list[str] = attrs.field(factory=list)
    loaded: trio.Event = attrs.field(factory=trio.Event)
    """Set when a page with all that it names has come."""
    _answers: dict[int, Any] = attrs.field(factory=dict)
    _news: trio.Event = attrs.field(factory=trio.Event)
    _last: int = 0
    _session: str | None = None

    async def listen(self) -> None:
        """Take what the browser says, until it ends."""
        try:
            while True:
                message = json.loads(await self.socket.get_message())
                if "id" in message:
                    self._answers[message["id"]] = message
                    self._news.set()
                    self._news = trio.Event()
                else:
                    self._note(message["method"], message["params"])
        except ConnectionClosed:
            pass

    def _note(self, method: str, params: Any) -> None:
        match method:
            case "Page.loadEventFired":
                self.loaded.set()
            case "Runtime.consoleAPICalled":
                self.complaints.append(" ".join(str(arg.get("value")) for arg in params["args"]))
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"])[:1000])
            case "Log.entryAdded":
                entry = params["entry"]
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")

    async def call(self, method: str, **params: object) -> Any:
        """Have the browser do something; return what comes of it."""
        self._last += 1
        number = self._last
        order: dict[str, object] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            order["sessionId"] = self._session
        await self.socket.send_message(json.dumps(order))
        with trio.fail_after(2 * WAIT_SECONDS):
            while number not in self._answers:
                await self._news.wait()
        answer = self._answers.pop(number)
        assert "error" not in answer, answer
        return answer["result"]

    async def attach(self) -> None:
        """Speak with the tab from now on, not with the browser."""
        targets = (await self.call("Target.getTargets"))["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        answer = await self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = answer["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript, after promises."""
        result = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def wait_until(self, expression: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until an expression is true."""
        with trio.move_on_after(seconds):
            # The browser looks by itself: no message crosses over until it is true.
            await self.evaluate(
                f"new Promise((done) => {{ const look = () => {{ if ({expression}) done(); "
                f"else setTimeout(look, {LOOK_AGAIN_SECONDS * 1000}); }}; look(); }})"
            )
            return
        text = await self.evaluate("document.body.innerText")
        raise AssertionError(f"never true: {expression}\n{self.complaints}\n{text}")

    async def wait_for_text(self, text: str, selector: str = "body") -> None:
        """Wait until an element says something."""
        await self.wait_until(
            f"document.querySelector({json.dumps(selector)})?.innerText.includes({json.dumps(text)})"
        )

    async def type(self, text: str) -> None:
        """Type into whatever has the focus."""
        await self.call("Input.insertText", text=text)

    async def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key, and let it go."""
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                text=text if kind == "keyDown" else "",
            )

    async def appear(self, width: int, height: int, scheme: str, *, phone: bool = False) -> None:
        """Be a window of this size, on a system with a light or dark theme."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        await self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )

    async def screenshot(self, file: Path) -> None:
        """Draw the whole page into a PNG file."""
        result = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        await trio.Path(file).write_bytes(base64.b64decode(result["data"]))


@asynccontextmanager
async def browsing(url: str, *prefix: str) -> AsyncIterator[Tab]:
    """Show a page, as long as the block lasts; ``prefix`` runs the browser elsewhere."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="polevpn-browser-") as profile:
        command = [
            *prefix,
            CHROMIUM,
            "--headless=new",
            "--disable-gpu",
            "--no-first-run",
            "--disable-extensions",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--remote-debugging-port=0",
            "--remote-allow-origins=*",
            f"--user-data-dir={profile}",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            "about:blank",
        ]
        async with trio.open_nursery() as nursery:
            process = await trio.lowlevel.open_process(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,
            )
            try:
                address = await _debugger(Path(profile), process)
                async with open_websocket_url(address, max_message_size=MAX_MESSAGE) as socket:
                    tab = Tab(socket)
                    nursery.start_soon(tab.listen)
                    await tab.attach()
                    await tab.call("Page.navigate", url=url)
                    with trio.fail_after(START_SECONDS):
                        await tab.loaded.wait()
                    yield tab
            finally:
                with trio.CancelScope(shield=True):
                    await _end(process)
                nursery.cancel_scope.cancel()


async def _end(process: trio.Process) -> None:
    """End the browser and all processes that it has made, which else write on in its profile."""
    process.terminate()
    with trio.move_on_after(END_SECONDS):
        await process.wait()
    with suppress(ProcessLookupError):
        while True:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            await trio.sleep(LOOK_AGAIN_SECONDS)


def _environment() -> dict[str, str]:
    # Some packagings read flags from a file of their own; ours are all that it needs.
    return {"PATH": os.environ.get("PATH", ""), "HOME": tempfile.gettempdir(), "LANG": "C.UTF-8"}


async def _debugger(profile: Path, process: trio.Process) -> str:
    """The address at which the browser takes orders, once it does."""
    with trio.fail_after(START_SECONDS):
        while process.poll() is None:
            try:
                port, path = (profile / "DevToolsActivePort").read_text().split("\n")
            except (OSError, ValueError):
                await trio.sleep(LOOK_AGAIN_SECONDS)
            else:
                return f"ws://127.0.0.1:{port}{path}"
    raise AssertionError(f"the browser ended with status {process.returncode}")
