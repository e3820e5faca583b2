"""An operator looks at a running network with the real commands: what is up, what not, and why."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from polevpn_trio.lab.namespaces import Host, wait_until
from polevpn_trio.lab.overlay import Overlay, python_path

pytestmark = pytest.mark.needs_root_lab


def ask(host: Host, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command on a host, as an operator would who is logged in there."""
    return host.run(
        [sys.executable, "-m", "polevpn_trio", *words],
        timeout=60,
        environment={**python_path(), "RUNTIME_DIRECTORY": ""},
    )


def look(host: Host, *words: str) -> Any:
    return json.loads(ask(host, *words, "--json").stdout)


def state(host: Host) -> str:
    return str(look(host, "status", "--over", "0")["state"])


def test_a_router_tells_of_its_sites(overlay: Overlay) -> None:
    a, b = overlay.add_site("a"), overlay.add_site("b")
    shared = "10.99.0.0/16"
    overlay.start_router()
    overlay.start_gateway(
        a,
        overlay.gateway_config(a, overlay.url("kcp"), local_networks=[a.lan, shared]),
    )
    overlay.wait_for_listener("kcp")
    wait_until(lambda: state(overlay.router) == "up", 20, "the first site")
    wait_until(lambda: len(look(overlay.router, "routes")["routes"]) == 4, 20, "its routes")
    second = overlay.start_gateway(
        b,
        overlay.gateway_config(b, overlay.url("tls"), local_networks=[b.lan, shared]),
    )
    overlay.wait_for_path(a.lan_host, b.lan_host_address)

    assert ask(overlay.router, "status").returncode == 0
    [router] = look(overlay.router, "status", "--over", "0.2")["programs"]
    assert (router["role"], router["instance"], router["state"]) == ("router", "router", "up")
    sites = {site["name"]: site for site in router["sites"]}
    assert sites.keys() == {a.tunnel_address, b.tunnel_address}
    for site, transport in ((a, "kcp"), (b, "tls")):
        found = sites[site.tunnel_address]
        assert found["connection"]["transport"] == transport
        assert found["connection"]["peer"].startswith(f"{site.uplink.address}:")
        assert found["networks"] == [site.lan, shared]
        assert 0 < found["link"]["rtt"] < 10
        assert found["link"]["bytes_sent"] > 0
        assert found["link"]["rates"] is not None
    assert router["forwarded"] > 0

    routes = {route["network"]: route for route in look(overlay.router, "routes")["routes"]}
    assert routes[b.lan]["site"] == b.tunnel_address
    assert routes[shared]["site"] == b.tunnel_address
    assert f"also named by {a.tunnel_address}" in routes[shared]["conflicts"][0]["what"]

    # All about one connection is under one name, in the log as in the events.
    identifier = sites[b.tunnel_address]["connection"]["identifier"]
    events = ask(overlay.router, "events").stdout.splitlines()
    its = [line for line in events if f"connection={identifier}" in line]
    assert len(its) == 3
    assert "logged in" in its[0]
    assert f"site={b.tunnel_address}" in its[1]
    assert shared in its[2]
    log = overlay.programs()[0].log()
    assert log.count(f"connection={identifier}") == 3

    way = look(overlay.router, "explain", a.lan_host_address, b.lan_host_address)
    assert (way["verdict"], way["source_site"], way["site"], way["route"]) == (
        "delivered",
        a.tunnel_address,
        b.tunnel_address,
        b.lan,
    )
    assert way["link"]["identifier"] == identifier
    nowhere = ask(overlay.router, "explain", a.lan_host_address, "203.0.113.1")
    assert nowhere.returncode == 1
    assert "dropped (no_route)" in nowhere.stdout
    tree = ask(overlay.router, "status", "--tree").stdout
    assert all(name in tree for name in ("udp:443", "tcp:443", "control", "receiver", "keepalive"))

    second.stop()
    wait_until(lambda: state(overlay.router) == "down", 20, "the router to miss a site")
    down = ask(overlay.router, "status", "--over", "0")
    assert down.returncode == 1
    [trouble] = [line for line in down.stdout.splitlines() if f"{b.tunnel_address}: down: " in line]
    assert "what to do: " in trouble


def test_a_gateway_tells_why_it_has_no_link_and_then_of_its_fallback(overlay: Overlay) -> None:
    site = overlay.add_site("a")
    urls = [overlay.url("kcp").replace(":443", ":444"), overlay.url("tls")]
    overlay.start_gateway(
        site, overlay.gateway_config(site, urls, connect_timeout=0.5, acls=["192.168.2.0/24"])
    )
    wait_until(
        lambda: "connection refused" in ask(site.gateway, "status", "--over", "0").stdout,
        20,
        "the gateway to say that nobody listens",
    )
    found = ask(site.gateway, "status", "--over", "0")
    assert found.returncode == 1
    assert "what to do: start the router there, or correct route_server" in found.stdout

    overlay.start_router()
    wait_until(lambda: state(site.gateway) == "degraded", 20, "the fallback")
    [gateway] = look(site.gateway, "status", "--over", "0")["programs"]
    assert gateway["instance"] == "gateway-1"
    assert [server["state"] for server in gateway["servers"]] == ["failed", "used"]
    assert "on a fallback" in gateway["sites"][0]["troubles"][0]["what"]

    other = "192.168.2.10"
    out = look(site.gateway, "explain", site.lan_host_address, "192.168.77.1")
    assert (out["verdict"], out["route"]) == ("local", "")
    inwards = look(site.gateway, "explain", other, site.lan_host_address)
    assert (inwards["verdict"], inwards["policy"]) == ("delivered", "acls: 192.168.2.0/24")
    outsider = look(site.gateway, "explain", "192.168.3.10", site.lan_host_address)
    assert outsider["reason"] == "not_in_acls"


def test_who_has_the_wrong_key_reads_on_both_ends_what_to_do(overlay: Overlay) -> None:
    site = overlay.add_site("a")
    overlay.start_router()
    overlay.wait_for_listener("kcp")
    config = overlay.gateway_config(site, overlay.url("kcp"), key="not the right key")
    overlay.start_gateway(site, config, "--log-format", "json").wait_for_output("wrong key", 20)
    lines = [json.loads(line) for line in overlay.programs()[1].log().splitlines()]
    [refused] = [line for line in lines if "wrong key" in line["message"]]
    assert "`key`" in refused["advice"]
    overlay.programs()[0].wait_for_output("wrong key; what to do: give that gateway the key", 20)


def test_where_nothing_runs_nobody_answers(overlay: Overlay) -> None:
    found = ask(overlay.router, "status")
    assert found.returncode == 2
    assert "no router or gateway answers on this machine" in found.stderr


def test_programs_on_one_machine_are_asked_together_or_by_name(overlay: Overlay) -> None:
    site = overlay.add_site("cloud", gateway=overlay.router)
    overlay.start_router()
    overlay.wait_for_listener("tls")
    overlay.start_gateway(site, overlay.gateway_config(site, "tls://127.0.0.1:443"))
    wait_until(
        lambda: (
            len(look(overlay.router, "status", "--over", "0")["programs"]) == 2
            and state(overlay.router) == "up"
        ),
        20,
        "both programs to be well",
    )
    assert "several programs run" in ask(overlay.router, "routes").stderr
    socket = "/run/polevpn_trio/gateway-1.sock"
    assert look(overlay.router, "routes", "--socket", socket)["routes"]
