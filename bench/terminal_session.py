"""Records the terminal session that the README shows: real commands on a network in the lab.

``python -m bench.terminal_session FILE.svg``: two sites join a router by `keys` and `join`, one of
them goes away, and an operator looks. Needs root (or user namespaces) and /dev/net/tun.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from polevpn_trio.lab.namespaces import (
    Host,
    Lab,
    become_root_in_user_namespace,
    check_permitted,
    wait_until,
)
from polevpn_trio.lab.overlay import Overlay, program, python_path

WIDTH = 110
"""Columns."""

PATIENCE = 60.0
"""Seconds for a command, or for a site to come up."""

PROGRAM = "polevpn-trio"

ROUTER = {
    "kcp": {"listen": ":443", "cert_file": "server.crt", "key_file": "server.key"},
    "tls": {"listen": ":443", "cert_file": "server.crt", "key_file": "server.key"},
    "gateways_directory": "sites",
}


class Session:
    """What an operator types on hosts, and what they see."""

    def __init__(self) -> None:
        self.text = Text()

    def give(self, host: Host, line: str, *, shown: bool = True, stdin: str = "") -> str:
        """Give a command in the folder of the host's files; return what it printed to stdout."""
        words = [word for word in shlex.split(line) if word != "sudo"]
        words[:1] = [sys.executable, "-m", "polevpn_trio"]
        feed = f"cd {Host.FILES} && printf %s {shlex.quote(stdin)} | {shlex.join(words)}"
        done = host.run(
            ["sh", "-c", feed],
            timeout=PATIENCE,
            environment={
                **python_path(),
                "RUNTIME_DIRECTORY": "",
                "FORCE_COLOR": "1",
                "COLUMNS": str(WIDTH),
                "TERM": "xterm-256color",
            },
        )
        if shown:
            # A join string holds a key; here it is one that is gone with the lab.
            output = re.sub(r"(polevpn://v1/.{12})\S*", r"\1...", done.stderr + done.stdout)
            self.text.append(f"{host.name}$ ", style="bold green")
            self.text.append(f"{line}\n", style="bold")
            self.text.append_text(Text.from_ansi(output.rstrip("\n")))
            self.text.append("\n\n")
        return done.stdout


def record(lab: Lab) -> Text:
    """Let an operator work on a network that is made for it."""
    overlay = Overlay(lab)
    session = Session()
    sites = [overlay.add_site(name) for name in ("berlin", "paris")]
    router = overlay.router
    router.write_file("router.json", json.dumps(ROUTER), mode=0o600)
    session.give(router, f"{PROGRAM} keys router --name {overlay.router_uplink.address}")
    told = {
        site.name: session.give(
            router,
            f"{PROGRAM} keys site {site.name} --network {site.lan} --route {other.lan}",
            shown=site is sites[0],
        )
        for site, other in zip(sites, reversed(sites), strict=True)
    }
    program(router, ["router", "--config", str(Host.FILES / "router.json")], "router")
    overlay.wait_for_listener("kcp")
    gateways = []
    for site in sites:
        session.give(
            site.gateway, f"{PROGRAM} join -", shown=site is sites[0], stdin=told[site.name]
        )
        file = str(Host.FILES / "gateway.json")
        gateways.append(program(site.gateway, ["gateway", "--config", file], site.name))
    overlay.wait_for_path(sites[0].lan_host, sites[1].lan_host_address)
    session.give(router, f"sudo {PROGRAM} status")
    gateways[1].stop()

    def missed() -> bool:
        answer = session.give(router, f"{PROGRAM} status --json --over 0", shown=False)
        return bool(json.loads(answer)["state"] == "down")

    wait_until(missed, PATIENCE, "the router to miss a site")
    session.give(router, f"sudo {PROGRAM} status")
    ends = f"{sites[0].lan_host_address} {sites[1].lan_host_address}"
    session.give(router, f"sudo {PROGRAM} explain {ends}")
    return session.text


def main(argv: list[str]) -> int:
    """Write the picture."""
    parser = argparse.ArgumentParser(prog="bench.terminal_session", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE.svg")
    options = parser.parse_args(argv)
    become_root_in_user_namespace()
    check_permitted()
    with Lab() as lab:
        text = record(lab)
    text.rstrip()
    console = Console(width=WIDTH, record=True, file=io.StringIO(), force_terminal=True)
    console.print(text)
    picture = console.export_svg(title="PoleVPN", unique_id="session")
    # Whoever looks at it need not fetch fonts from elsewhere.
    picture = re.sub(r"\s*(@font-face \{.*?\}|<!--.*?-->)", "", picture, flags=re.DOTALL)
    options.file.write_text(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
