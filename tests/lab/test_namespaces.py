"""Hosts are apart from each other and from this machine, and nothing of them stays behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from polevpn_trio.errors import HostError
from polevpn_trio.lab import enter, namespaces, probes
from polevpn_trio.lab.namespaces import Host, Lab, wait_until
from polevpn_trio.lab.overlay import python_path
from polevpn_trio.tun import nat

pytestmark = pytest.mark.needs_root_lab

PYTHON = sys.executable


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet collected by its parent does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def two_hosts_and_a_router(lab: Lab) -> tuple[Host, Host, Host]:
    left, middle, right = lab.host("left"), lab.host("middle"), lab.host("right")
    middle.forward_packets()
    for number, host in ((1, left), (2, right)):
        lab.connect(host, "eth0", middle, host.name)
        host.add_addresses("eth0", f"192.0.{number}.2/24", f"2001:db8:{number}::2/64")
        middle.add_addresses(host.name, f"192.0.{number}.1/24", f"2001:db8:{number}::1/64")
        host.add_route("0.0.0.0/0", via=f"192.0.{number}.1")
        host.add_route("::/0", via=f"2001:db8:{number}::1")
    return left, middle, right


def test_hosts_talk_over_a_router_by_ipv4_and_ipv6() -> None:
    with Lab() as lab:
        left, _, _ = two_hosts_and_a_router(lab)
        for address in ("192.0.2.2", "2001:db8:2::2"):
            result = left.call(probes.ping, address, count=3, interval=0.001)
            assert result.received == 3


def test_a_link_that_is_down_carries_nothing() -> None:
    with Lab() as lab:
        left, middle, _ = two_hosts_and_a_router(lab)
        middle.set_link("right", up=False)
        assert left.call(probes.ping, "192.0.2.2", timeout=0.05).received == 0
        middle.set_link("right", up=True)
        wait_until(lambda: middle.is_up("right"), 5, "the link")

        # The kernel says so before the link's queue takes packets.
        def carries() -> bool:
            return left.call(probes.ping, "192.0.2.2", timeout=0.5).received == 1

        wait_until(carries, 5, "a packet over the link")


def test_small_mtu_refuses_or_fragments() -> None:
    with Lab() as lab:
        left, middle, right = two_hosts_and_a_router(lab)
        for host, interface in ((middle, "right"), (right, "eth0")):
            host.set_link(interface, mtu=1280)
        big = left.call(probes.ping, "192.0.2.2", size=2000, count=2, interval=0.001)
        assert big.received == 2
        forbidden = left.call(probes.ping, "192.0.2.2", size=1400, dont_fragment=True, timeout=0.05)
        assert forbidden.received == 0


def test_dropping_udp_leaves_everything_else_alone() -> None:
    with Lab() as lab:
        left, middle, right = two_hosts_and_a_router(lab)
        server = right.start(
            [PYTHON, "-m", "polevpn_trio.lab.probes", "udp-server", "7000"],
            environment=python_path(),
        )
        server.wait_for_output("listening", 10)

        def answered(address: str) -> int:
            return left.call(probes.udp_echo, address, 7000, timeout=0.05).received

        for address in ("192.0.2.2", "2001:db8:2::2"):
            assert answered(address) == 1
            with middle.dropping("udp"):
                assert answered(address) == 0
                assert left.call(probes.ping, address).received == 1
            assert answered(address) == 1


def test_masquerading_router() -> None:
    with Lab() as lab:
        left, middle, right = two_hosts_and_a_router(lab)
        right.remove_route("0.0.0.0/0", via="192.0.2.1")
        assert left.call(probes.ping, "192.0.2.2", timeout=0.05).received == 0
        middle.call(nat.add_masquerade, "left")
        assert left.call(probes.ping, "192.0.2.2").received == 1
        assert middle.state().nat_tables == (nat.table_name("left"),)


def test_programs_run_in_their_hosts() -> None:
    script = "import socket, os; print(sorted(n for _, n in socket.if_nameindex()), os.getcwd())"
    with Lab() as lab:
        left, middle, _ = two_hosts_and_a_router(lab)
        for host, interfaces in ((left, ["eth0", "lo"]), (middle, ["left", "lo", "right"])):
            done = host.run([PYTHON, "-c", script], timeout=10)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.strip() == f"{interfaces} {os.getcwd()}"


def test_a_program_that_is_not_there() -> None:
    with Lab() as lab:
        done = lab.host("one").run(["no-such-program"], timeout=10)
        assert (done.returncode, done.stderr) == (1, "no-such-program: No such file or directory\n")


def test_each_host_has_a_run_folder_of_its_own() -> None:
    with Lab() as lab:
        one, other = lab.host("one"), lab.host("other")
        path = one.write_file("secret", "key", mode=0o600)
        shown = one.run(["/bin/sh", "-c", f"stat -c %a {path}; cat {path}"], timeout=10)
        assert shown.stdout == "600\nkey"
        assert not path.exists()
        assert not other.call(path.exists)


def test_sockets_belong_to_the_host_that_made_them() -> None:
    with Lab() as lab:
        one, other = lab.host("one"), lab.host("other")
        with one.call(socket.create_server, ("127.0.0.1", 8443)):
            assert one.listens("tcp", 8443)
            assert not one.listens("udp", 8443)
            assert not other.listens("tcp", 8443)


def test_state_is_the_same_when_a_change_is_undone() -> None:
    with Lab() as lab:
        left, middle, _ = two_hosts_and_a_router(lab)
        before = left.state()
        assert before.routes_through("eth0")
        assert before.routes_through("eth") == ()
        left.add_route("10.0.0.0/8", via="192.0.1.1")
        assert set(left.state().routes) - set(before.routes) == {
            "10.0.0.0/8 via 192.0.1.1 dev eth0"
        }
        left.remove_route("10.0.0.0/8", via="192.0.1.1")
        assert left.state() == before
        unforwarded = left.state().settings
        assert unforwarded != middle.state().settings


def test_programs_are_stopped_and_told_from_those_that_ended() -> None:
    with Lab() as lab:
        host = lab.host("one")
        ended = host.start([PYTHON, "-c", "print('so long')"])
        assert ended.wait(10) == 0
        assert ended.log() == "so long\n"
        assert not ended.stopped
        stubborn = host.start(
            [
                PYTHON,
                "-c",
                "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
                "print('ready', flush=True); signal.pause()",
            ]
        )
        stubborn.wait_for_output("ready", 10)
        assert stubborn.stop(timeout=0.1) == -signal.SIGKILL
        assert stubborn.stopped
        left_running = host.start(["sleep", "60"])
    assert left_running.returncode == -signal.SIGTERM
    assert not is_alive(left_running.pid)


def test_output_that_never_comes() -> None:
    with Lab() as lab:
        ended = lab.host("one").start(["/bin/sh", "-c", "echo no luck"], name="sh")
        with pytest.raises(ChildProcessError, match="sh ended: no luck"):
            ended.wait_for_output("listening", 10)


def test_programs_start_from_the_main_thread_only() -> None:
    with Lab() as lab:
        host = lab.host("one")
        with pytest.raises(RuntimeError, match="main thread"):
            host.call(host.start, ["true"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_survives_the_process_that_built_the_lab(number: signal.Signals) -> None:
    script = textwrap.dedent(
        """
        import json, os, signal, time
        from polevpn_trio.lab.namespaces import Lab
        # Whoever runs the tests in the background of a shell ignores it, and so would this.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with Lab() as lab:
            one = lab.host("one")
            sleeper = one.start(["/bin/sh", "-c", "echo up; exec sleep 30"])
            sleeper.wait_for_output("up", 10)
            inode = one.call(os.stat, "/proc/thread-self/ns/net").st_ino
            print(json.dumps([sleeper.pid, inode]), flush=True)
            time.sleep(30)
        """
    )
    with subprocess.Popen(
        [PYTHON, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **python_path()},
    ) as builder:
        assert builder.stdout is not None
        pid, inode = json.loads(builder.stdout.readline())
        assert is_alive(pid)
        builder.send_signal(number)
        builder.wait(20)
    wait_until(lambda: not is_alive(pid), 5, "the program's death")

    def holders() -> list[str]:
        found = []
        for link in Path("/proc").glob("[0-9]*/ns/net"):
            try:
                if os.stat(link).st_ino == inode:
                    found.append(str(link))
            except OSError:
                continue
        return found

    assert holders() == []


def test_missing_tun_device_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: str, flags: int) -> int:
        raise FileNotFoundError(2, "No such file or directory", path)

    monkeypatch.setattr(os, "open", missing)
    reason = namespaces.unavailable_reason()
    assert reason is not None
    assert "/dev/net/tun is missing" in reason
    assert "\n" not in reason


def test_refused_namespaces_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(flags: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(enter, "unshare", refuse)
    with pytest.raises(HostError, match="namespaces are not permitted here"):
        namespaces.check_permitted()
    with pytest.raises(HostError, match="cannot make a network namespace"):
        Host("one")
