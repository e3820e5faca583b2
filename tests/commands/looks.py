"""Looks at a router, as the control socket gives them, and what is drawn of them."""

from __future__ import annotations

import copy
import io
from typing import Any

from rich.console import Console, RenderableType

NOTHING = {"before_repair": None, "after_repair": None}


def site(name: str, state: str = "up", **changes: Any) -> dict[str, Any]:
    found = {
        "name": name,
        "state": state,
        "age": 4321.0,
        "addresses": ["10.8.0.2"],
        "networks": ["192.168.1.0/24"],
        "troubles": [],
        "connections": 2,
        "connection": {
            "identifier": "5d1f0c2a",
            "transport": "kcp",
            "peer": "198.51.100.7:50412",
            "age": 4321.0,
            "silent": 0.4,
            "features": ["gso", "ipv6"],
        },
        "link": {
            "rtt": 0.0123,
            "jitter": 0.0011,
            "queue_delay": None,
            "queued_bytes": 0,
            "bytes_sent": 12_000_000,
            "bytes_received": 3_400,
            "loss_sent": {"before_repair": 0.02, "after_repair": 0.0},
            "loss_received": NOTHING,
            "drops": {},
            "rates": {"seconds": 1.0, "bytes_sent": 150.0, "bytes_received": 1e6, "drops": 0.0},
        },
    }
    if state == "down":
        found["connection"] = None
        found["troubles"] = [{"what": "nothing heard for 60 s", "advice": "look at its uplink"}]
    if state == "degraded":
        found["troubles"] = [{"what": "20% lost", "advice": ""}]
    return copy.deepcopy(found | changes)


def status(*sites: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "role": "router",
        "instance": "router",
        "version": "0.1.0",
        "pid": 812,
        "time": 1.8e9,
        "uptime": 90_000.0,
        "config": "router.json",
        "kernels": "compiled",
        "state": max((each["state"] for each in sites), key=["up", "degraded", "down"].index)
        if sites
        else "up",
        "troubles": [],
        "sites": list(sites),
        "servers": [],
        "forwarded": 1234,
        "drops": {"no_route": 7},
        "strangers": 3,
        "limited": {},
        **changes,
    }


def drawn(what: RenderableType, width: int = 80) -> list[str]:
    """The lines of a drawing, without colours and blanks at their ends."""
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(what)
    return [line.rstrip() for line in captured.get().splitlines()]
