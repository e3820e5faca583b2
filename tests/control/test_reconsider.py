"""Whether a login that was good is still good by other rules."""

from __future__ import annotations

import datetime
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import attrs
import pytest

from polevpn_trio.control.authentication import Admitted, Authenticator
from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.control.registration import RouterSession
from polevpn_trio.control.site_directory import KnownSite, SiteDirectory
from polevpn_trio.frames import codec
from polevpn_trio.frames.messages import AuthRequest, NativeOffer, RegisterRequest
from tests.memory_links import IDENTITY

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
OLD, NEW = SiteKey.derive("an old key", "berlin"), SiteKey.derive("a new key", "berlin")
CERTIFICATE, ANOTHER = b"\x05" * 32, b"\x06" * 32
BERLIN = KnownSite(
    "berlin",
    Path("berlin.json"),
    verifiers=(OLD.verifier,),
    addresses=frozenset({ip_address("10.8.0.2")}),
    networks=(ip_network("192.168.0.0/16"),),
)
SHOWN = attrs.evolve(IDENTITY, gateway_certificate=CERTIFICATE)


def known(*sites: KnownSite) -> Authenticator:
    return Authenticator("", SiteDirectory({site.name: site for site in sites}))


def proved(key: SiteKey) -> AuthRequest:
    return AuthRequest("", NativeOffer(1, (), key.name, key.prove(SHOWN)))


def admitted(authenticator: Authenticator, request: AuthRequest) -> Admitted:
    verdict = authenticator.judge_untrusted(request, SHOWN, NOW)
    assert isinstance(verdict, Admitted)
    return verdict


@pytest.mark.parametrize(
    ("site", "reason"),
    [
        (BERLIN, ""),
        (attrs.evolve(BERLIN, verifiers=(NEW.verifier, OLD.verifier)), ""),
        (attrs.evolve(BERLIN, verifiers=(NEW.verifier,)), "the key of site berlin was replaced"),
        (attrs.evolve(BERLIN, certificates=(CERTIFICATE,)), ""),
        (
            attrs.evolve(BERLIN, certificates=(ANOTHER,)),
            "the certificate of site berlin was replaced",
        ),
        (attrs.evolve(BERLIN, disabled=True), "site berlin is disabled"),
        (
            attrs.evolve(BERLIN, expires=NOW),
            "site berlin is expired on 2030-01-01 00:00 UTC",
        ),
        (attrs.evolve(BERLIN, expires=NOW + datetime.timedelta(seconds=1)), ""),
        (attrs.evolve(BERLIN, name="paris"), "site berlin was removed"),
    ],
)
def test_a_site_stays_as_long_as_its_login_would_be_taken_again(
    site: KnownSite, reason: str
) -> None:
    assert known(site).reconsider(admitted(known(BERLIN), proved(OLD)), NOW) == reason


def test_a_site_known_by_its_certificate_stays_until_that_or_a_key_is_asked_for() -> None:
    by_certificate = attrs.evolve(BERLIN, verifiers=(), certificates=(CERTIFICATE,))
    login = admitted(known(by_certificate), AuthRequest("", NativeOffer(1, (), "berlin", b"")))
    both = attrs.evolve(by_certificate, certificates=(ANOTHER, CERTIFICATE))
    assert known(both).reconsider(login, NOW) == ""
    with_key = attrs.evolve(by_certificate, verifiers=(NEW.verifier,))
    assert "key of site berlin" in known(with_key).reconsider(login, NOW)


@pytest.mark.parametrize("raw", [True, False])
def test_old_and_new_shared_keys_are_taken_in_between(raw: bool) -> None:
    key = SiteKey.derive("old")
    request = AuthRequest("old") if raw else proved(key)
    login = admitted(Authenticator("old"), request)
    both = Authenticator("new", other_keys=("old",))
    assert admitted(both, request).verifier == key.verifier
    assert admitted(both, AuthRequest("new")).verifier == SiteKey.derive("new").verifier
    assert both.reconsider(login, NOW) == ""
    assert Authenticator("new").reconsider(login, NOW) == "its shared key is not taken any more"
    assert known(BERLIN).reconsider(login, NOW) == "its shared key is not taken any more"


def test_the_router_proves_the_key_that_the_gateway_has() -> None:
    key = SiteKey.derive("old")
    verdict = admitted(Authenticator("new", other_keys=("old",)), proved(key))
    assert key.check_router(verdict.proof, SHOWN)


def test_who_sent_the_key_as_it_is_stays_as_long_as_that_is_allowed() -> None:
    strict = Authenticator("old", classic=False)
    raw = admitted(Authenticator("old"), AuthRequest("old"))
    assert "forbids" in strict.reconsider(raw, NOW)
    proof = admitted(Authenticator("old"), proved(SiteKey.derive("old")))
    assert strict.reconsider(proof, NOW) == ""


def session(authenticator: Authenticator) -> RouterSession:
    one = RouterSession(
        lambda request: authenticator.judge_untrusted(request, SHOWN, NOW), offer_native=True
    )
    one.receive_control_untrusted(codec.AUTH, 0, proved(OLD).to_json())
    return one


def register(one: RouterSession, *networks: str) -> None:
    request = RegisterRequest(
        IPv4Address("10.8.0.2"),
        "",
        tuple(ip_network(network) for network in networks),
        gateway6=None,
    )
    one.receive_control_untrusted(codec.REGISTER, 0, request.to_json())


def test_what_has_been_registered_must_still_be_allowed() -> None:
    one = session(known(BERLIN))
    register(one, "192.168.1.0/24")
    register(one, "192.168.2.0/24")
    less = attrs.evolve(BERLIN, networks=(ip_network("192.168.2.0/24"),))
    assert one.reconsider(known(less), NOW) == "site berlin may not register 192.168.1.0/24"
    other = attrs.evolve(BERLIN, addresses=frozenset({ip_address("10.8.0.3")}))
    assert one.reconsider(known(other), NOW) == "site berlin may not register 10.8.0.2"


def test_a_session_ends_when_its_site_does_and_not_before() -> None:
    one = session(known(BERLIN))
    ending = known(attrs.evolve(BERLIN, expires=NOW))
    assert one.reconsider(ending, NOW - datetime.timedelta(seconds=1)) == ""
    assert one.reconsider(ending, NOW) == "site berlin is expired on 2030-01-01 00:00 UTC"
    # The reason is what ends it, not what it has registered.
    register(one, "192.168.1.0/24")
    less = attrs.evolve(BERLIN, networks=(), disabled=True)
    assert one.reconsider(known(less), NOW) == "site berlin is disabled"


def test_what_was_refused_does_not_count_and_is_judged_by_the_new_rules_next_time() -> None:
    one = session(known(BERLIN))
    register(one, "172.16.0.0/24")
    assert one.reconsider(known(BERLIN), NOW) == ""
    more = attrs.evolve(BERLIN, networks=(ip_network("172.16.0.0/16"),))
    assert one.reconsider(known(more), NOW) == ""
    register(one, "172.16.0.0/24")
    assert one.reconsider(known(BERLIN), NOW) == "site berlin may not register 172.16.0.0/24"


def test_a_session_that_is_not_logged_in_has_nothing_to_reconsider() -> None:
    one = RouterSession(lambda _: Admitted(), offer_native=True)
    assert one.reconsider(known(BERLIN), NOW) == ""
