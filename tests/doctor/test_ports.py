"""Ports to listen on: free, taken, privileged, of an address that is not here."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from polevpn_trio.control.config import ListenerConfig
from polevpn_trio.doctor.examination import examine_network
from polevpn_trio.doctor.finding import Finding, Status
from polevpn_trio.doctor.ports import PortFacts, judge_port, judge_unknown_host, look_at_port
from polevpn_trio.lab.namespaces import Host, Lab
from tests.conftest import Certificates

from .machines import router

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def listener(port: int, host: str = "127.0.0.1") -> ListenerConfig:
    return ListenerConfig(host, port, Path("router.crt"), Path("router.key"))


def judged(protocol: str, where: ListenerConfig) -> Finding:
    return judge_port(protocol, where, look_at_port(protocol, where))


@contextmanager
def taken(protocol: str) -> Iterator[int]:
    with socket.socket(socket.AF_INET, KINDS[protocol]) as sock:
        sock.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            sock.listen()
        yield sock.getsockname()[1]


@pytest.mark.parametrize("protocol", KINDS)
def test_a_port_in_use_is_told_with_who_has_it(protocol: str) -> None:
    with taken(protocol) as port:
        where = listener(port)
        facts = look_at_port(protocol, where)
        assert f"(pid {os.getpid()})" in facts.holder
        found = judge_port(protocol, where, PortFacts(facts.error, "nginx (pid 7)"))
        assert found.status is Status.FAIL
        assert "in use by nginx (pid 7)" in found.text
        assert f"ss -lp{protocol[0]}n sport = :{port}" in found.remedy
    assert judged(protocol, where).status is Status.OK


def test_a_port_of_the_other_protocol_is_free() -> None:
    with taken("tcp") as port:
        assert judged("udp", listener(port)).status is Status.OK


def test_the_router_itself_may_have_the_port() -> None:
    facts = PortFacts(98, "/usr/bin/python3 -m polevpn_trio router (pid 7)")
    found = judge_port("udp", listener(443), facts)
    assert found.status is Status.OK
    assert "seems to be running" in found.text


def test_the_ports_of_metrics_and_dashboard_are_looked_at(
    certificates: Certificates, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("t" * 32)
    pair = certificates.ecdsa
    with taken("tcp") as metrics, taken("tcp") as page:
        config = router(
            pair.cert_file,
            pair.key_file,
            metrics={"listen": f"127.0.0.1:{metrics}"},
            dashboard={"token_file": str(token), "listen": f"127.0.0.1:{page}"},
        )
        told = [each.text for each in examine_network(config).findings if each.check == "port"]
    for port in (metrics, page):
        assert any(f"tcp port {port} of 127.0.0.1 is in use by" in text for text in told)


def test_an_address_that_is_not_here_is_told() -> None:
    found = judged("udp", listener(4443, "192.0.2.77"))
    assert found.status is Status.FAIL
    assert '"listen": ":4443"' in found.remedy


@pytest.mark.needs_root_lab
def test_a_name_that_has_no_address_is_told() -> None:
    where = listener(4443, "router.invalid")
    # On a host that reaches no name server.
    with Lab() as lab, pytest.raises(OSError, match="name resolution"):
        lab.host("alone").call(look_at_port, "udp", where)
    assert judge_unknown_host(where).status is Status.FAIL


LOOK = """
import encodings.idna, os
from pathlib import Path
from polevpn_trio.control.config import ListenerConfig
from polevpn_trio.doctor.ports import judge_port, look_at_port
os.setuid(65534)
where = ListenerConfig("127.0.0.1", 443, Path("x"), Path("x"))
print(*judge_port("udp", where, look_at_port("udp", where)).remedy.split(), sep=" ")
"""


@pytest.mark.needs_root_lab
def test_a_port_that_needs_a_privilege_is_told(machine: Host) -> None:
    if os.geteuid() != 0 or Path("/proc/self/uid_map").read_text().split()[2] == "1":
        pytest.skip("there is only one user here")
    done = machine.run([sys.executable, "-c", LOOK], timeout=60)
    assert done.returncode == 0, done.stderr
    assert "CAP_NET_BIND_SERVICE" in done.stdout
    assert "ip_unprivileged_port_start=443" in done.stdout


def test_the_port_is_free_again_after_the_look() -> None:
    with taken("tcp") as port:
        pass
    assert judged("tcp", listener(port)).status is Status.OK
    with socket.create_server(("127.0.0.1", port)) as server:
        assert server.getsockname()[1] == port
