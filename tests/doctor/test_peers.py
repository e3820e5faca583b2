"""What follows from how routers answered, where the command's tests make no network for it."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from polevpn_trio.control.router_trust import Authority, Insecure
from polevpn_trio.doctor.finding import Finding, Status
from polevpn_trio.doctor.path_probes import PeerFacts, ask_by_tcp, ask_by_udp
from polevpn_trio.doctor.peers import Asked, judge_all, judge_answer, judge_expiry, judge_path_mtu
from polevpn_trio.lab.namespaces import Host
from tests.conftest import Certificates

from .machines import gateway

CONFIG = gateway(verify_router="insecure")
KCP, TLS = CONFIG.servers
ANSWERS = PeerFacts(shaken_hands=True, round_trip=0.02)
IPV6 = (10, "2001:db8::1")


def nothing(what: str, share: float | None) -> None:
    pass


def judged(*asked: Asked) -> list[Finding]:
    now = datetime.datetime.now(datetime.UTC)
    return [finding for _, finding in judge_all(CONFIG, list(asked), now)]


@pytest.mark.needs_root_lab
def test_ipv6_without_a_way_is_no_alarm_if_ipv4_answers(machine: Host) -> None:
    for server, ask in ((KCP, lambda: ask_by_udp(IPV6, 443, nothing)), (TLS, ask_tcp)):
        facts = machine.call(trio.run, ask)
        assert facts.no_way
        unreachable = Asked(server, 6, IPV6[1], facts)
        good = judged(unreachable, Asked(server, 4, "192.0.2.1", ANSWERS))
        assert [each.status for each in good] == [Status.OK, Status.OK]
        [bad] = judged(unreachable)
        assert bad.status is Status.FAIL
        assert bad.remedy.startswith("ip route get 2001:db8::1")


async def ask_tcp() -> PeerFacts:
    return await ask_by_tcp(IPV6, 443, "router.example")


def test_an_address_that_does_not_answer_costs_time() -> None:
    silent = Asked(TLS, 4, "192.0.2.2", PeerFacts("no answer in 4 s"))
    found = judge_answer(silent, {TLS})
    assert found.status is Status.WARN
    assert "after some seconds" in found.meaning
    assert judge_answer(silent, {KCP}).meaning.startswith("the gateway takes another of route")
    assert judge_answer(silent, set()).status is Status.FAIL


def test_a_fallback_is_advised_where_there_is_none() -> None:
    silent = Asked(KCP, 4, "192.0.2.2", PeerFacts("no answer"))
    assert f'add "tls://{KCP.host}:443"' in judge_answer(silent, set()).remedy
    assert "tls://" not in judge_answer(silent, {TLS}).remedy


def test_who_answers_but_is_no_router_is_told() -> None:
    facts = PeerFacts(handshake_error="wrong version number", round_trip=0.01)
    found = judge_answer(Asked(TLS, 6, "2001:db8::1", facts), set())
    assert found.status is Status.FAIL
    assert found.text.startswith("[2001:db8::1] tcp port 443 answers, but not as a router: wrong")


@pytest.mark.parametrize(("days", "status"), [(60, Status.OK), (10, Status.WARN), (-1, None)])
def test_a_certificate_of_an_authority_is_told_before_it_expires(
    days: int, status: Status | None, certificates: Certificates
) -> None:
    leaf = x509.load_pem_x509_certificate(certificates.ecdsa.cert_file.read_bytes())
    chain = (leaf.public_bytes(Encoding.DER),)
    asked = Asked(TLS, 4, "192.0.2.1", PeerFacts(shaken_hands=True, chain=chain))
    now = leaf.not_valid_after_utc - datetime.timedelta(days=days)
    found = judge_expiry(asked, Authority((leaf,), file=Path("ca.pem")), now)
    assert (found and found.status) == status
    assert judge_expiry(asked, Insecure(), now) is None


@pytest.mark.parametrize(
    ("version", "found", "link", "status"),
    [
        (4, 1500, 1500, Status.OK),
        (4, 1415, 1500, Status.OK),
        (4, 1414, 1500, Status.WARN),
        (4, 1400, 1400, Status.OK),
        (6, 1435, 0, Status.OK),
        (6, 1434, 0, Status.WARN),
        (4, 0, 1500, None),
    ],
)
def test_a_path_is_wide_enough_for_the_largest_datagrams(
    version: int, found: int, link: int, status: Status | None
) -> None:
    asked = Asked(KCP, version, "192.0.2.1", PeerFacts(path_mtu=found), link)
    judgement = judge_path_mtu(CONFIG, asked)
    assert (judgement and judgement.status) == status
