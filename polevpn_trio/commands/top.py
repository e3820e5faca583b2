"""``top``: all sites live on a terminal, driven by keys; elsewhere a status now and then."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live

from polevpn_trio.commands import status_view
from polevpn_trio.commands.client import ControlClient, NoAnswer, connect_one
from polevpn_trio.commands.inspect import EXIT_WELL
from polevpn_trio.commands.top_screen import Screen

RECONNECT_SECONDS = 1.0
"""Between two attempts to reach a program that has ended."""

REDRAW_SECONDS = 1.0
"""Longest time without a new drawing, so that a terminal that was resized is filled soon."""

_KEYS = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[1~": "home",
    "\x1bOH": "home",
    "\x1b[F": "end",
    "\x1b[4~": "end",
    "\x1bOF": "end",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\b": "backspace",
    "\x03": "ctrl-c",
}


def top_command(options: argparse.Namespace) -> int:
    """Watch until the user has seen enough."""
    console = Console(highlight=False)
    drawn = console.is_terminal and not console.is_dumb_terminal and sys.stdin.isatty()
    if options.json or not drawn:
        return _print_for_ever(options)
    client = connect_one(options.socket)
    screen = Screen(ascii_only=not console.encoding.lower().startswith("utf"))
    with _raw_terminal(sys.stdin.fileno()):
        _Watch(console, client, screen, options.every).run()
    return EXIT_WELL


def _print_for_ever(options: argparse.Namespace) -> int:
    import json

    with contextlib.suppress(KeyboardInterrupt), connect_one(options.socket) as client:
        while True:
            status = client.call("status", wait=options.every, over=options.every)
            if options.json:
                print(json.dumps(status), flush=True)
            else:
                for line in status_view.lines(status):
                    print(line)
                print(flush=True)
    return EXIT_WELL


class _Watch:
    """Waits for keys and answers, whichever comes first, and draws."""

    def __init__(
        self, console: Console, client: ControlClient, screen: Screen, every: float
    ) -> None:
        self._console = console
        self._client: ControlClient | None = client
        self._path = client.path
        self._screen = screen
        self._every = every
        self._asked = ""
        self._ask_at = 0.0
        self._last_event = 0

    def run(self) -> None:
        """Run until the user quits."""
        with Live(console=self._console, screen=True, auto_refresh=False) as live:
            self._ask("events", most=20)
            while not self._screen.ended:
                size = self._console.size
                live.update(self._screen.render(size.width, size.height), refresh=True)
                self._wait()
        if self._client is not None:
            self._client.__exit__(None, None, None)

    def _wait(self) -> None:
        descriptors = [sys.stdin.fileno()]
        if self._client is not None:
            descriptors.append(self._client.fileno())
        ready, _, _ = select.select(descriptors, [], [], REDRAW_SECONDS)
        if sys.stdin.fileno() in ready:
            for key in keys(os.read(sys.stdin.fileno(), 1024).decode(errors="replace")):
                self._screen.press(key)
        if self._client is None:
            self._reconnect()
        elif self._client.fileno() in ready:
            self._take_answer(self._client)

    def _take_answer(self, client: ControlClient) -> None:
        try:
            result = client.receive()
        except NoAnswer as error:
            self._lose(error)
            return
        if result is None:
            return
        if self._asked == "events":
            self._screen.take_events(result["events"])
            self._last_event = result["last"]
            self._ask("status", over=self._every)
        else:
            self._screen.take_status(result)
            self._ask("events", after=self._last_event)

    def _ask(self, method: str, **params: Any) -> None:
        if self._client is None:
            return
        self._asked = method
        try:
            self._client.ask(method, **params)
        except NoAnswer as error:
            self._lose(error)

    def _lose(self, error: NoAnswer) -> None:
        if self._client is not None:
            self._client.__exit__(None, None, None)
        self._client = None
        self._ask_at = time.monotonic() + RECONNECT_SECONDS
        self._screen.take_problem(f"trying again: {error}")

    def _reconnect(self) -> None:
        if time.monotonic() < self._ask_at:
            return
        try:
            self._client = ControlClient(self._path)
        except NoAnswer as error:
            self._lose(error)
            return
        self._last_event = 0
        self._ask("events", most=20)


def keys(text: str) -> Iterator[str]:
    """Take apart what a terminal sends: names of special keys, characters as they are."""
    while text:
        known = max((code for code in _KEYS if text.startswith(code)), key=len, default="")
        if known and not (known == "\x1b" and text[1:2] in ("[", "O")):
            yield _KEYS[known]
            text = text[len(known) :]
        elif text.startswith("\x1b"):
            # A key that means nothing here; its sequence ends with a letter or a tilde.
            end = next(
                (at for at, each in enumerate(text[2:], 2) if each.isalpha() or each == "~"),
                len(text),
            )
            text = text[end + 1 :]
        else:
            yield text[0]
            text = text[1:]


@contextmanager
def _raw_terminal(descriptor: int) -> Iterator[None]:
    """Get each key at once and unseen; the terminal is as before at the end."""
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
