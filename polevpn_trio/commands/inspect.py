"""``status``, ``routes``, ``events``, ``explain``: ask, show, and say so by the exit status.

::

    0   all sites are up; for routes and events: answered; for explain: the packet is not dropped
    1   a site is down, or somebody should have a look; the packet is dropped
    2   no program answers, or the command line is wrong
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

from rich.console import Console, RenderableType

from polevpn_trio.commands import status_view
from polevpn_trio.commands.arguments import LEVELS
from polevpn_trio.commands.client import NoAnswer, connect_all, connect_one
from polevpn_trio.commands.events_view import event_line, render_event
from polevpn_trio.commands.routes_view import (
    explanation_lines,
    matching,
    render_explanation,
    render_routes,
    route_lines,
)
from polevpn_trio.management.answers import UP, worst
from polevpn_trio.management.api import MOST_EVENTS, MOST_ROUTES

EXIT_WELL, EXIT_DEGRADED, EXIT_NO_ANSWER = 0, 1, 2


def guarded(run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command; that nobody answers has its own exit status."""
    try:
        return run(options)
    except NoAnswer as error:
        if getattr(options, "json", False):
            print(json.dumps({"error": str(error), "advice": error.advice}))
        print(f"polevpn-trio: {error.with_advice()}", file=sys.stderr)
        return EXIT_NO_ANSWER
    except BrokenPipeError:
        # Whoever read us (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_WELL


def show(console: Console, drawing: RenderableType | None, lines: Iterable[str]) -> None:
    """Show a drawing on a terminal, and plain lines elsewhere."""
    if console.is_terminal:
        if drawing is not None:
            console.print(drawing)
    else:
        for line in lines:
            print(line)


def status_command(options: argparse.Namespace) -> int:
    """Ask all programs of this machine, or one, how they are."""
    console = Console(highlight=False)
    with ExitStack() as stack:
        clients = [stack.enter_context(client) for client in connect_all(options.socket)]
        if options.tree:
            trees = [client.call("tree") for client in clients]
            if options.json:
                print(json.dumps(trees, indent=2))
            for tree in [] if options.json else trees:
                console.print(status_view.tree(tree))
            return EXIT_WELL
        # All of them measure at the same time.
        for client in clients:
            client.ask("status", over=options.over)
        found = [client.wait(options.over) for client in clients]
    if options.json:
        print(json.dumps({"state": worst([each["state"] for each in found]), "programs": found}))
    else:
        for number, status in enumerate(found):
            if number and console.is_terminal:
                console.print()
            show(console, status_view.render(status, console.width), status_view.lines(status))
    return EXIT_WELL if worst([each["state"] for each in found]) == UP else EXIT_DEGRADED


def routes_command(options: argparse.Namespace) -> int:
    """Ask for the whole table, part by part."""
    console = Console(highlight=False)
    with connect_one(options.socket) as client:
        entries: list[dict[str, Any]] = []
        while True:
            part = client.call("routes", offset=len(entries), most=MOST_ROUTES)
            entries += part["routes"]
            if not part["routes"] or len(entries) >= part["total"]:
                break
    shown = matching(entries, options.word)
    if options.json:
        print(json.dumps({"routes": shown, "total": len(entries)}))
        return EXIT_WELL
    show(console, render_routes(shown, console.width), route_lines(shown))
    return EXIT_WELL


def events_command(options: argparse.Namespace) -> int:
    """Show the newest events, and with ``--follow`` those that come."""
    console = Console(highlight=False)
    with connect_one(options.socket) as client:
        if options.follow:
            batches: Iterator[dict[str, Any]] = client.follow(
                "events", most=options.number, follow=True
            )
        else:
            batches = iter([client.call("events", most=MOST_EVENTS)])
        least = LEVELS.index(options.level)
        try:
            for batch in batches:
                if batch["missed"]:
                    print(f"({batch['missed']} events are forgotten)", file=sys.stderr)
                wanted = [
                    event
                    for event in batch["events"]
                    if _rank(event["level"]) >= least
                    and (options.site is None or event["site"] == options.site)
                ]
                for event in wanted if options.follow else wanted[-options.number :]:
                    if options.json:
                        print(json.dumps(event), flush=True)
                    else:
                        show(console, render_event(event, console.width), [event_line(event)])
                if not wanted and console.is_terminal and not (options.follow or options.json):
                    console.print("no events", style="dim")
                sys.stdout.flush()
        except KeyboardInterrupt:
            pass
    return EXIT_WELL


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)


def explain_command(options: argparse.Namespace) -> int:
    """Ask what becomes of a packet."""
    console = Console(highlight=False)
    with connect_one(options.socket) as client:
        traffic = {"protocol": options.protocol, "port": options.port}
        found = client.call(
            "explain",
            source=options.source,
            destination=options.destination,
            # A program of an older version knows nothing of them.
            **{name: value for name, value in traffic.items() if value is not None},
        )
    if options.json:
        print(json.dumps(found))
    else:
        show(console, render_explanation(found, console.width), explanation_lines(found))
    return EXIT_DEGRADED if found["verdict"] == "dropped" else EXIT_WELL
