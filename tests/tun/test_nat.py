"""Masquerading, seen from the far end of real connections between namespaces."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pyroute2.nftables.main import NFTables

from polevpn_trio.lab.namespaces import Host, Lab
from polevpn_trio.tun.nat import add_masquerade, remove_masquerade, table_name

pytestmark = pytest.mark.needs_root_lab

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def road() -> Iterator[tuple[Host, Host, Host]]:
    """Hosts inside, router, outside in a row; the router's inner interface plays the tunnel."""
    with Lab() as lab:
        inside, router, outside = lab.host("inside"), lab.host("router"), lab.host("outside")
        lab.connect(inside, "eth0", router, "pole0")
        lab.connect(router, "eth1", outside, "eth0")
        inside.add_addresses("eth0", "10.8.0.2/24", "fd00:8::2/64")
        router.add_addresses("pole0", "10.8.0.1/24", "fd00:8::1/64")
        router.add_addresses("eth1", "203.0.113.1/24", "2001:db8::1/64")
        outside.add_addresses("eth0", "203.0.113.9/24", "2001:db8::9/64")
        for host, network, gateway in (
            (inside, "0.0.0.0/0", "10.8.0.1"),
            (inside, "::/0", "fd00:8::1"),
            (outside, "10.8.0.0/24", "203.0.113.1"),
            (outside, "fd00:8::/64", "2001:db8::1"),
        ):
            host.add_route(network, gateway)
        router.forward_packets()
        yield inside, router, outside


def source_seen(client: Host, server: Host, address: str) -> str:
    """Connect by TCP and tell from which address the server sees it come."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with closing(server.call(socket.create_server, (address, 0), family=family)) as listener:
        listener.settimeout(10)
        port = listener.getsockname()[1]
        with closing(client.call(socket.create_connection, (address, port), 10)):
            connection, peer = listener.accept()
            connection.close()
            return str(peer[0])


def tables(host: Host) -> list[str]:
    def read() -> list[str]:
        with NFTables(nfgen_family=socket.AF_UNSPEC) as nftables:
            return [message.get_attr("NFTA_TABLE_NAME") for message in nftables.get_tables()]

    return host.call(read)


def test_connections_out_of_the_tunnel_come_from_the_routers_address(
    road: tuple[Host, Host, Host],
) -> None:
    inside, router, outside = road
    assert source_seen(inside, outside, "203.0.113.9") == "10.8.0.2"
    router.call(add_masquerade, "pole0")
    assert source_seen(inside, outside, "203.0.113.9") == "203.0.113.1"
    assert source_seen(inside, outside, "2001:db8::9") == "2001:db8::1"
    # Neither what goes into the tunnel nor the router's own connections are touched.
    assert source_seen(outside, inside, "10.8.0.2") == "203.0.113.9"
    assert source_seen(outside, inside, "fd00:8::2") == "2001:db8::9"
    assert source_seen(router, outside, "203.0.113.9") == "203.0.113.1"
    router.call(remove_masquerade, "pole0")
    assert source_seen(inside, outside, "203.0.113.9") == "10.8.0.2"
    assert source_seen(inside, outside, "2001:db8::9") == "fd00:8::2"


def test_adding_and_removing_twice_is_no_error_and_leaves_other_tables() -> None:
    with Lab() as lab:
        host = lab.host("host")
        host.call(remove_masquerade, "pole0")
        host.call(add_masquerade, "pole0")
        host.call(add_masquerade, "pole0")
        host.call(add_masquerade, "pole1")
        assert sorted(tables(host)) == ["polevpn_trio_pole0", "polevpn_trio_pole1"]
        host.call(remove_masquerade, "pole0")
        host.call(remove_masquerade, "pole0")
        assert tables(host) == [table_name("pole1")]


@pytest.mark.skipif(shutil.which("nft") is None, reason="no nft binary to read the rules back")
@pytest.mark.parametrize("interface", ["pole0", "a-long_name.123"])
def test_nft_shows_one_rule(interface: str) -> None:
    with Lab() as lab:
        host = lab.host("host")
        host.call(add_masquerade, interface)
        host.call(add_masquerade, interface)
        shown = host.run(["nft", "list", "ruleset"], timeout=20)
    assert shown.returncode == 0, shown.stderr
    assert (
        shown.stdout.split()
        == (
            f"table inet polevpn_trio_{interface} {{ chain postrouting {{ "
            "type nat hook postrouting priority srcnat; policy accept; "
            f'iifname "{interface}" oifname != "{interface}" masquerade }} }}'
        ).split()
    )


AS_NOBODY = """
import os
from polevpn_trio.errors import HostError
from polevpn_trio.tun.nat import add_masquerade, remove_masquerade
os.setgroups([]), os.setgid(65534), os.setuid(65534)
for function in (add_masquerade, remove_masquerade):
    try:
        function("pole0")
    except HostError as error:
        print(error)
"""


def test_without_the_rights_the_error_says_which() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "not permitted to masquerade packets from pole0: root or CAP_NET_ADMIN is needed",
        "not permitted to remove the masquerading for pole0: root or CAP_NET_ADMIN is needed",
    ], done.stderr
