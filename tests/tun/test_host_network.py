"""Host settings applied by a real program in a namespace of its own, and taken back."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_interface
from pathlib import Path
from socket import AF_INET6
from typing import Any

import pytest
import trio
import trio.testing
from pyroute2 import IPRoute

from polevpn_trio.errors import HostError
from polevpn_trio.lab.host_state import HostState
from polevpn_trio.lab.namespaces import Host, Lab, Process, wait_until
from polevpn_trio.tun.host_network import UNDO_DEADLINE, HostNetwork, HostSettings, applied
from polevpn_trio.tun.routes import RTNH_F_ONLINK

pytestmark = pytest.mark.needs_root_lab

PROGRAM = Path(__file__).with_name("host_program.py")
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[2])}
TIMEOUT = 30.0
STATE = Path("/run/polevpn_trio")
PEER, PEER6 = "198.51.100.7", "2001:db8::7"

EXIT: dict[str, Any] = {
    "addresses": ["10.8.0.2/32", "fd08::2/128"],
    "routes": ["0.0.0.0/0", "::/0", "10.9.0.0/16"],
    "forward": True,
    "masquerade": True,
    "peers": [[PEER, PEER6]],
}
"""Everything goes through the tunnel, and what comes out of it goes on."""

PLAIN: dict[str, Any] = {"addresses": ["10.8.0.2/32"], "routes": ["10.9.0.0/16"]}


@pytest.fixture
def host() -> Iterator[Host]:
    """A host with an uplink, IPv4 and IPv6, by way of 192.0.2.1 and fd00:2::1."""
    with Lab() as lab:
        host, uplink = lab.host("host"), lab.host("uplink")
        lab.connect(host, "eth0", uplink, "eth0")
        uplink.add_addresses("eth0", "192.0.2.1/24", "fd00:2::1/64")
        host.add_addresses("eth0", "192.0.2.2/24", "fd00:2::2/64")
        host.add_route("0.0.0.0/0", "192.0.2.1")
        host.add_route("::/0", "fd00:2::1")
        yield host


def start(host: Host, settings: dict[str, Any]) -> Process:
    """Start the program and wait until its settings are in force."""
    process = host.start([sys.executable, PROGRAM, json.dumps(settings)], environment=ENVIRONMENT)
    wait_for_steps(process, 1)
    return process


def wait_for_steps(process: Process, count: int) -> str:
    """Wait for the ``count``-th step, return what it says."""

    def reached() -> bool:
        assert process.returncode is None, process.log()
        return len(steps(process)) >= count

    wait_until(reached, TIMEOUT, f"step {count}")
    return steps(process)[count - 1]


def steps(process: Process) -> list[str]:
    """What the program said of each step, without a line that it is still writing."""
    lines = process.log().splitlines(keepends=True)
    return [line for line in lines if line.startswith("ready") and line.endswith("\n")]


def end(process: Process) -> str:
    assert process.stop(TIMEOUT) == 0, process.log()
    assert process.log().endswith("ended\n")
    return process.log()


def refusal(host: Host, settings: dict[str, Any]) -> str:
    """Run the program, which must refuse; return its one line."""
    done = host.run(
        [sys.executable, str(PROGRAM), json.dumps(settings)],
        timeout=TIMEOUT,
        environment=ENVIRONMENT,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("HostError: ")
    assert done.stdout.count("\n") == 1
    return done.stdout.removeprefix("HostError: ").strip()


def route(host: Host, command: str, **members: Any) -> None:
    """Change the host's routes with more freedom than the lab offers."""

    def change() -> None:
        with IPRoute() as netlink:
            [index] = netlink.link_lookup(ifname=members.pop("interface", "eth0"))
            netlink.route(command, oif=index, **members)

    host.call(change)


def setting(host: Host, key: str, value: int | None = None) -> int:
    path = Path("/proc/sys") / key
    if value is not None:
        host.call(path.write_text, f"{value}\n")
    return int(host.call(path.read_text))


def forwarding(host: Host) -> tuple[int, int]:
    """Whether the host forwards IPv4 and IPv6."""
    return setting(host, "net/ipv4/ip_forward"), setting(host, "net/ipv6/conf/all/forwarding")


def journals(host: Host) -> list[Path]:
    return host.call(lambda: list(STATE.glob("*")))


def test_an_exit_route_is_applied_and_undone(host: Host) -> None:
    before = host.state()
    process = start(host, EXIT)
    during = host.state()
    assert set(during.addresses) - set(before.addresses) == {
        "10.8.0.2/32 dev pole0",
        "fd08::2/128 dev pole0",
    }
    # The operator's own default routes stay where they are.
    assert set(before.routes) < set(during.routes)
    assert set(during.routes) - set(before.routes) == {
        "0.0.0.0/1 dev pole0",
        "128.0.0.0/1 dev pole0",
        "10.9.0.0/16 dev pole0",
        "::/1 dev pole0 metric 1024",
        "8000::/1 dev pole0 metric 1024",
        "fd08::2/128 dev pole0 metric 256",
        f"{PEER}/32 via 192.0.2.1 dev eth0",
        f"{PEER6}/128 via fd00:2::1 dev eth0 metric 1024",
    }
    assert forwarding(host) == (1, 1)
    assert during.nat_tables == ("polevpn_trio_pole0",)
    [journal] = journals(host)
    assert host.call(journal.stat).st_mode & 0o777 == 0o600
    end(process)
    assert host.state() == before
    assert journals(host) == []


def test_the_link_takes_its_sizes_and_no_orders_from_the_far_end(host: Host) -> None:
    setting(host, "net/ipv6/conf/default/disable_ipv6", 1)
    setting(host, "net/ipv4/conf/all/rp_filter", 1)
    process = start(
        host, {**PLAIN, "addresses": ["10.8.0.2/32", "fd08::2/128"], "tx_queue_length": 77}
    )

    def read() -> tuple[int, int, int, list[str]]:
        with IPRoute() as netlink:
            [index] = netlink.link_lookup(ifname="pole0")
            [link] = netlink.get_links(index)
            addresses = [each.get_attr("IFA_ADDRESS") for each in netlink.get_addr(index=index)]
            return link.get_attr("IFLA_MTU"), link.get_attr("IFLA_TXQLEN"), link["flags"], addresses

    mtu, queue, flags, addresses = host.call(read)
    assert (mtu, queue, flags & 1) == (1400, 77, 1)
    # No link-local address, and a usable IPv6 one.
    assert addresses == ["10.8.0.2", "fd08::2"]
    assert setting(host, "net/ipv6/conf/pole0/disable_ipv6") == 0
    assert setting(host, "net/ipv6/conf/pole0/accept_ra") == 0
    assert setting(host, "net/ipv4/conf/pole0/rp_filter") == 2
    # Nothing of this outlives the device, so there is nothing to remember.
    assert journals(host) == []
    end(process)


def test_an_interface_that_stays_is_left_as_it_was(host: Host) -> None:
    def make_and_read() -> tuple[int, int, int]:
        with IPRoute() as netlink:
            if not netlink.link_lookup(ifname="pole0"):
                netlink.link("add", ifname="pole0", kind="veth", peer={"ifname": "peer"})
                netlink.link("set", ifname="peer", state="up")
            [link] = netlink.get_links(*netlink.link_lookup(ifname="pole0"))
            return link.get_attr("IFLA_MTU"), link.get_attr("IFLA_TXQLEN"), link["flags"] & 1

    keys = [
        f"net/{name}" for name in ("ipv6/conf/pole0/accept_ra", "ipv6/conf/pole0/addr_gen_mode")
    ]
    link = host.call(make_and_read)
    before = host.state(), [setting(host, key) for key in keys]
    # The way out is a link without a gateway, as over PPP.
    host.remove_route("0.0.0.0/0", "192.0.2.1")
    route(host, "add", dst="0.0.0.0/0", scope="link")
    process = start(host, {**EXIT, "make_device": False})
    assert f"{PEER}/32 dev eth0" in host.state().routes
    assert host.call(make_and_read) == (1400, 1000, 1)
    assert [setting(host, key) for key in keys] == [0, 1]
    end(process)
    route(host, "del", dst="0.0.0.0/0", scope="link")
    host.add_route("0.0.0.0/0", "192.0.2.1")
    assert host.call(make_and_read) == link
    assert (host.state(), [setting(host, key) for key in keys]) == before


@pytest.mark.parametrize("gateway", ["203.0.113.1", "fd00:2::1"])
def test_a_pin_copies_how_its_gateway_is_reached(host: Host, gateway: str) -> None:
    host.remove_route("0.0.0.0/0", "192.0.2.1")
    way = {"via": {"family": AF_INET6, "addr": gateway}} if ":" in gateway else {"gateway": gateway}
    # On the link, although no route says so: clouds like to give such gateways.
    route(host, "add", dst="0.0.0.0/0", flags=RTNH_F_ONLINK, **way)
    before = host.state()
    process = start(host, {**EXIT, "peers": [[PEER], []]})
    assert wait_for_steps(process, 1).split()[2:] == [PEER]
    assert "WARNING" not in process.log()
    process.send_signal(signal.SIGUSR1)
    wait_for_steps(process, 2)
    assert [each for each in host.state().routes if each.startswith(PEER)] == []
    end(process)
    assert host.state() == before


def test_what_is_as_wanted_already_is_left_alone_at_the_end(host: Host) -> None:
    host.forward_packets()
    route(host, "add", dst=f"{PEER}/32", gateway="192.0.2.1")
    before = host.state()
    process = start(host, {**EXIT, "peers": [[PEER]]})
    assert wait_for_steps(process, 1).split()[2:] == []
    end(process)
    assert host.state() == before


def test_a_setting_that_somebody_changed_meanwhile_is_not_put_back(host: Host) -> None:
    # A default route from a router advertisement, which forwarding would make the kernel drop.
    route(host, "add", dst="::/0", gateway="fd00:2::1", proto="ra", priority=77)
    key = "net/ipv6/conf/eth0/accept_ra"
    assert setting(host, key) == 1
    process = start(host, EXIT)
    assert setting(host, key) == 2
    setting(host, key, 0)
    end(process)
    assert setting(host, key) == 0
    assert forwarding(host) == (0, 0)


def test_routes_past_the_tunnel_follow_the_peers_and_the_uplink(host: Host) -> None:
    mapped = "::ffff:198.51.100.8"
    other_ways = ["127.0.0.1", "192.0.2.2", "192.0.2.1"]
    steps = [[PEER], [PEER, mapped, *other_ways], [mapped], [mapped], []]
    process = start(host, {**EXIT, "peers": steps})

    def pins() -> list[str]:
        return [each for each in host.state().routes if "/32 " in each]

    def turn(step: int) -> list[str]:
        process.send_signal(signal.SIGUSR1)
        said = wait_for_steps(process, step)
        assert len(said.split()) - 2 == len(pins())
        return pins()

    assert pins() == [f"{PEER}/32 via 192.0.2.1 dev eth0"]
    assert turn(2) == [
        f"{PEER}/32 via 192.0.2.1 dev eth0",
        "198.51.100.8/32 via 192.0.2.1 dev eth0",
    ]
    # Another network, another gateway.
    host.remove_route("0.0.0.0/0", "192.0.2.1")
    host.add_route("0.0.0.0/0", "192.0.2.254")
    assert turn(3) == ["198.51.100.8/32 via 192.0.2.254 dev eth0"]
    # No network at all: nothing is pinned, and it is no reason to stop.
    host.remove_route("0.0.0.0/0", "192.0.2.254")
    assert turn(4) == []
    assert "no route leads to 198.51.100.8" in process.log()
    assert turn(5) == []
    end(process)


def test_a_pin_that_went_down_with_its_interface_is_renewed(host: Host) -> None:
    process = start(host, {**EXIT, "peers": [[PEER], [PEER]]})
    host.set_link("eth0", up=False)
    host.set_link("eth0", up=True)
    host.add_route("0.0.0.0/0", "192.0.2.1")
    assert f"{PEER}/32 via 192.0.2.1 dev eth0" not in host.state().routes
    process.send_signal(signal.SIGUSR1)
    wait_for_steps(process, 2)
    assert f"{PEER}/32 via 192.0.2.1 dev eth0" in host.state().routes
    end(process)


def test_after_sigkill_the_next_start_undoes_first(host: Host) -> None:
    before = host.state()
    start(host, EXIT).kill()
    left = host.state()
    assert left.nat_tables == ("polevpn_trio_pole0",)
    assert f"{PEER}/32 via 192.0.2.1 dev eth0" in left.routes
    assert forwarding(host) == (1, 1)
    process = start(host, PLAIN)
    during = host.state()
    assert during.nat_tables == ()
    assert forwarding(host) == (0, 0)
    assert set(during.routes) - set(before.routes) == {"10.9.0.0/16 dev pole0"}
    assert journals(host) == []
    assert "undid 5 changes" in end(process)
    assert host.state() == before


def edited(text: str, **entry: object) -> str:
    document = json.loads(text)
    document["changes"] = [entry]
    return json.dumps(document)


@pytest.mark.parametrize(
    "tamper",
    [
        # A well-formed entry for a route that is the operator's own: it lacks our mark.
        partial(
            edited,
            kind="route",
            destination=f"{PEER}/32",
            interface="eth0",
            gateway="192.0.2.1",
            onlink=False,
            source=None,
        ),
        partial(edited, kind="sysctl", key="kernel/hostname", before=0, after=1),
        lambda text: text[:-30],
    ],
    ids=["not ours", "not allowed", "cut"],
)
def test_a_journal_cannot_make_us_undo_what_we_did_not_do(
    host: Host, tamper: Callable[[str], str]
) -> None:
    start(host, {**PLAIN, "forward": True}).kill()
    [journal] = journals(host)
    text = host.call(journal.read_text)
    host.call(journal.write_text, tamper(text))
    route(host, "add", dst=f"{PEER}/32", gateway="192.0.2.1")
    before = host.state()
    end(start(host, PLAIN))
    assert host.state() == before
    assert journals(host) == []


@pytest.mark.parametrize(
    ("existing", "wanted"),
    [("10.9.0.0/16", "10.9.0.0/16"), ("fd09::/48", "fd09::/48"), ("128.0.0.0/1", "0.0.0.0/0")],
)
def test_a_network_that_is_routed_elsewhere_is_refused(
    host: Host, existing: str, wanted: str
) -> None:
    gateway = "fd00:2::1" if ":" in existing else "192.0.2.1"
    # A worse metric does not make it ours to take.
    route(host, "add", dst=existing, gateway=gateway, priority=500)
    before = host.state()
    said = refusal(host, {**PLAIN, "routes": ["10.10.0.0/16", wanted], "forward": True})
    assert said.startswith(f"route_networks: {existing} is routed to eth0 ")
    assert host.state() == before


def test_the_peer_itself_cannot_be_a_network_of_the_tunnel(host: Host) -> None:
    before = host.state()
    said = refusal(host, {**EXIT, "routes": [f"{PEER}/32"]})
    assert said.startswith(f"route_networks: {PEER}/32 is where the tunnel's other end is reached")
    assert host.state() == before
    assert journals(host) == []


def test_a_failure_half_way_undoes_the_first_half(host: Host) -> None:
    before = host.state()
    # IPv6 needs an MTU of 1280; the kernel takes it off the link that has less.
    said = refusal(host, {**EXIT, "mtu": 1000})
    assert "fd08::2/128" in said or "IPv6" in said
    assert host.state() == before
    assert journals(host) == []


def test_a_journal_that_cannot_be_written_is_told_once(host: Host) -> None:
    before = host.state()
    process = start(host, {**EXIT, "state_directory": "/proc/polevpn_trio"})
    log = end(process)
    assert log.count("WARNING") == 1
    assert "cannot write /proc/polevpn_trio/pole0" in log
    assert host.state() == before


AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv[2])
import host_program, polevpn_trio.lab.namespaces as namespaces
from pyroute2 import IPRoute
from polevpn_trio.lab.enter import CLONE_NEWNET, _libc, unshare
os.setgroups([]), os.setgid(65534), os.setuid(65534)
_libc.prctl(4, 1)  # PR_SET_DUMPABLE: after setuid, /proc/self would belong to root
namespaces.become_root_in_user_namespace()
unshare(CLONE_NEWNET)
with IPRoute() as netlink:
    netlink.link("add", ifname="pole0", kind="veth", peer={"ifname": "peer"})
    netlink.link("set", ifname="peer", state="up")
host_program.main()
"""


def test_an_ordinary_user_may_do_all_this_in_a_namespace_of_its_own(host: Host) -> None:
    # A pair of veths stands in for the TUN, whose device file not every user may open.
    settings = {
        **EXIT,
        "make_device": False,
        "state_directory": "/proc/polevpn_trio",
        "peers": [[]],
    }
    words = [sys.executable, "-c", AS_NOBODY, json.dumps(settings), str(PROGRAM.parent)]
    process = host.start(words, environment=ENVIRONMENT)
    wait_until(
        lambda: bool(steps(process)) or process.returncode is not None, TIMEOUT, "the settings"
    )
    if "user namespaces are not permitted" in process.log():
        pytest.skip("unprivileged user namespaces are not permitted here")
    assert wait_for_steps(process, 1).split()[0] == "ready"
    assert end(process).count("WARNING") == 1


APPLY_TO_LOOPBACK = """
import sys, trio
from ipaddress import ip_interface
from pathlib import Path
from polevpn_trio.errors import HostError
from polevpn_trio.tun.host_network import HostSettings, applied
import os
os.setgroups([]), os.setgid(65534), os.setuid(65534)
async def main():
    address = ip_interface("10.8.0.2/32")
    async with applied(HostSettings(sys.argv[1], 1400, (address,), (), forward=True)):
        pass
try:
    trio.run(main)
except HostError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("interface", "expected"),
    [
        ("lo", "not permitted to set lo up with mtu 1400: root or CAP_NET_ADMIN is needed"),
        ("pole9", "there is no network interface pole9"),
        ("../x", "'../x' cannot be the name of a network interface"),
    ],
)
def test_what_is_missing_is_said_in_one_line(host: Host, interface: str, expected: str) -> None:
    before = host.state()
    done = host.run(
        [sys.executable, "-c", APPLY_TO_LOOPBACK, interface],
        timeout=TIMEOUT,
        environment=ENVIRONMENT,
    )
    assert done.stdout.strip() == expected, done.stderr
    assert host.state() == before


def test_undoing_has_a_deadline_and_cancellation_does_not_cut_it_short(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, released, calls = threading.Event(), threading.Event(), []

    def undo(host: HostNetwork) -> None:
        calls.append("begun")
        stuck.wait(TIMEOUT)
        released.set()

    monkeypatch.setattr(HostNetwork, "_apply_all", lambda host, peers: None)
    monkeypatch.setattr(HostNetwork, "_undo_all", undo)
    settings = HostSettings("pole0", 1400, (ip_interface("10.8.0.2/32"),), ())

    async def main() -> float:
        with trio.CancelScope() as scope:
            async with applied(settings):
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        return trio.current_time()

    clock = trio.testing.MockClock(autojump_threshold=0.05)
    began = clock.current_time()
    assert trio.run(main, clock=clock) - began == pytest.approx(UNDO_DEADLINE)
    assert calls == ["begun"]
    assert "undoing changes takes longer than 5 s" in caplog.text
    stuck.set()
    assert released.wait(TIMEOUT)


def test_a_failing_body_is_told_and_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(HostNetwork, "_apply_all", lambda host, peers: calls.append("applied"))
    monkeypatch.setattr(HostNetwork, "_undo_all", lambda host: calls.append("undone"))
    settings = HostSettings("pole0", 1400, (ip_interface("10.8.0.2/32"),), ())

    async def main() -> None:
        async with applied(settings):
            raise HostError("something else")

    with pytest.raises(HostError, match="something else"):
        trio.run(main)
    assert calls == ["applied", "undone"]


def test_states_can_be_told_apart(host: Host) -> None:
    """The comparison that the tests above rest on sees what they look for."""
    before: HostState = host.state()
    route(host, "add", dst="10.77.0.0/16", gateway="192.0.2.1")
    assert host.state() != before
