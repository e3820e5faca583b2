"""Who may log in at the router."""

from __future__ import annotations

import datetime
import sys
from _hashlib import hmac_digest
from pathlib import Path

import attrs
import pytest

from polevpn_trio.control import advice
from polevpn_trio.control.authentication import Admitted, Authenticator, Denied
from polevpn_trio.control.login_proof import SiteKey, Verifier
from polevpn_trio.control.site_directory import KnownSite, SiteDirectory
from polevpn_trio.frames.messages import AuthRequest, NativeOffer
from tests.memory_links import IDENTITY

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
KEY = SiteKey.derive("secret")
OTHER = attrs.evolve(IDENTITY, exporter=bytes(32))


def proof(key: SiteKey = KEY, *, raw: str = "") -> AuthRequest:
    return AuthRequest(raw, NativeOffer(name=key.name, proof=key.prove(IDENTITY)))


def test_a_proof_of_the_shared_key_is_answered_by_one_of_ours() -> None:
    verdict = Authenticator("secret").judge_untrusted(proof(), IDENTITY, NOW)
    assert isinstance(verdict, Admitted)
    assert KEY.check_router(verdict.proof, IDENTITY)


@pytest.mark.parametrize(
    "request_",
    [proof(SiteKey.derive("Secret")), proof(SiteKey.derive("secret", "berlin"))],
    ids=["key", "name"],
)
def test_a_wrong_proof_is_denied(request_: AuthRequest) -> None:
    verdict = Authenticator("secret").judge_untrusted(request_, IDENTITY, NOW)
    assert isinstance(verdict, Denied)
    assert verdict.answer == "unknown site or wrong key"


def test_a_proof_made_in_another_session_is_denied() -> None:
    assert isinstance(Authenticator("secret").judge_untrusted(proof(), OTHER, NOW), Denied)


def test_a_wrong_proof_is_not_made_good_by_the_key_as_it_is() -> None:
    wrong = proof(SiteKey.derive("Secret"), raw="secret")
    assert isinstance(Authenticator("secret").judge_untrusted(wrong, IDENTITY, NOW), Denied)


def test_the_key_as_it_is_lets_in_only_where_that_is_allowed() -> None:
    raw = AuthRequest("secret", NativeOffer())
    assert Authenticator("secret").judge_untrusted(raw, IDENTITY, NOW) == Admitted()
    verdict = Authenticator("secret", classic=False).judge_untrusted(raw, IDENTITY, NOW)
    assert isinstance(verdict, Denied)
    assert verdict.answer == "invalid key"
    assert "classic" in verdict.reason


@pytest.mark.parametrize("key", ["", "Secret", "secret "])
@pytest.mark.parametrize("classic", [True, False])
def test_another_key_as_it_is_never_does(key: str, classic: bool) -> None:
    authenticator = Authenticator("secret", classic=classic)
    verdict = authenticator.judge_untrusted(AuthRequest(key), IDENTITY, NOW)
    assert verdict == Denied("invalid key", "invalid key")


# --- Sites that are known

BERLIN_KEY = SiteKey.derive("its own", "berlin")
CERTIFICATE = b"\x05" * 32
BERLIN = KnownSite("berlin", Path("berlin.json"), verifiers=(BERLIN_KEY.verifier,))


def judge(
    site: KnownSite,
    request: AuthRequest | None = None,
    *,
    shared: str = "",
    certificate: bytes = b"",
    now: datetime.datetime = NOW,
) -> Admitted | Denied:
    sites = SiteDirectory({site.name: site})
    identity = attrs.evolve(IDENTITY, gateway_certificate=certificate)
    return Authenticator(shared, sites).judge_untrusted(request or proof(BERLIN_KEY), identity, now)


def test_a_known_site_is_let_in_by_its_own_key_and_told_who_we_are() -> None:
    verdict = judge(BERLIN)
    assert isinstance(verdict, Admitted)
    assert verdict.site is BERLIN
    assert BERLIN_KEY.check_router(verdict.proof, IDENTITY)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (proof(SiteKey.derive("its own", "paris")), 'no site "paris" is known'),
        (proof(SiteKey.derive("another", "berlin")), "wrong key of berlin"),
        (AuthRequest("its own", NativeOffer(name="berlin")), "wrong key of berlin"),
        (proof(SiteKey.derive("x", "\n" + "n" * 999)), 'no site "\\n' + "n" * 62 + '" is known'),
    ],
)
def test_strangers_hear_the_same_and_our_log_tells_them_apart(
    request_: AuthRequest, reason: str
) -> None:
    assert judge(BERLIN, request_) == Denied("unknown site or wrong key", reason)


def test_no_stranger_can_tell_by_the_work_which_sites_there_are() -> None:
    renewed = (*BERLIN.verifiers, SiteKey.derive("old", "berlin").verifier)
    by_keys = [attrs.evolve(BERLIN, verifiers=these) for these in (renewed[:1], renewed)]
    guess = proof(SiteKey.derive("wrong", "berlin"))

    def work(site: KnownSite, request_: AuthRequest) -> int:
        digests: list[object] = []

        def note(_: object, event: str, function: object) -> None:
            if event == "c_call" and function is hmac_digest:
                digests.append(function)

        sys.setprofile(note)
        try:
            verdict = judge(site, request_)
        finally:
            sys.setprofile(None)
        assert isinstance(verdict, Denied)
        return len(digests)

    unknown = proof(SiteKey.derive("wrong", "nowhere"))
    found = {work(site, guess) for site in by_keys} | {work(BERLIN, unknown)}
    assert len(found) == 1
    assert found.pop() > 0


def test_the_shared_key_alone_lets_nobody_in_where_there_is_none() -> None:
    for request_ in (proof(), proof(raw="secret"), AuthRequest("secret"), AuthRequest("")):
        assert isinstance(judge(BERLIN, request_), Denied)
    for request_ in (proof(), AuthRequest("secret")):
        admitted = judge(BERLIN, request_, shared="secret")
        assert isinstance(admitted, Admitted)
        assert admitted.site is None


def test_the_shared_key_is_no_key_of_a_site() -> None:
    request_ = proof(SiteKey.derive("secret", "berlin"))
    assert isinstance(judge(BERLIN, request_, shared="secret"), Denied)


def test_nobody_knows_the_key_that_stands_for_none() -> None:
    for key in (SiteKey("", bytes(32), Verifier(bytes(32), bytes(32))), SiteKey.derive("")):
        assert isinstance(judge(BERLIN, proof(key)), Denied)
    empty = SiteKey("paris", bytes(32), Verifier(bytes(32), bytes(32)))
    assert isinstance(judge(BERLIN, proof(empty)), Denied)


def test_a_disabled_site_hears_so_once_it_has_proved_that_it_is_the_one() -> None:
    disabled = attrs.evolve(BERLIN, disabled=True)
    assert judge(disabled) == Denied("site berlin is disabled", "berlin is disabled")
    wrong = judge(disabled, proof(SiteKey.derive("x", "berlin")))
    assert wrong == Denied("unknown site or wrong key", "wrong key of berlin")


def test_a_site_expires_at_the_moment_that_was_said() -> None:
    expiring = attrs.evolve(BERLIN, expires=NOW)
    assert isinstance(judge(expiring, now=NOW - datetime.timedelta(seconds=1)), Admitted)
    denied = judge(expiring, now=NOW)
    assert isinstance(denied, Denied)
    assert denied.answer == "site berlin is expired on 2030-01-01 00:00 UTC"


def test_of_several_keys_each_will_do() -> None:
    new = SiteKey.derive("new", "berlin")
    site = attrs.evolve(BERLIN, verifiers=(BERLIN_KEY.verifier, new.verifier))
    for key in (BERLIN_KEY, new):
        verdict = judge(site, proof(key))
        assert isinstance(verdict, Admitted)
        assert key.check_router(verdict.proof, IDENTITY)


BY_CERTIFICATE = AuthRequest("", NativeOffer(name="berlin"))


def test_a_site_is_known_by_its_certificate() -> None:
    site = attrs.evolve(BERLIN, verifiers=(), certificates=(bytes(32), CERTIFICATE))
    assert judge(site, BY_CERTIFICATE, certificate=CERTIFICATE) == Admitted(b"", site)
    for other in (b"", b"\x06" * 32):
        assert isinstance(judge(site, BY_CERTIFICATE, certificate=other), Denied)
    # A key that it has not got is no help.
    assert isinstance(judge(site, proof(BERLIN_KEY)), Denied)


def test_with_key_and_certificate_it_needs_both() -> None:
    site = attrs.evolve(BERLIN, certificates=(CERTIFICATE,))
    assert isinstance(judge(site, certificate=CERTIFICATE), Admitted)
    assert isinstance(judge(site), Denied)
    assert isinstance(judge(site, BY_CERTIFICATE, certificate=CERTIFICATE), Denied)


def test_a_site_that_cannot_be_told_from_others_is_never_let_in() -> None:
    site = attrs.evolve(BERLIN, verifiers=())
    assert isinstance(judge(site, BY_CERTIFICATE, certificate=CERTIFICATE), Denied)


NEITHER = attrs.evolve(BERLIN, verifiers=())
BY_BOTH = attrs.evolve(BERLIN, certificates=(CERTIFICATE,))
DISABLED = attrs.evolve(BERLIN, disabled=True)


@pytest.mark.parametrize(
    ("site", "request_", "certificate", "shared", "expected"),
    [
        (BERLIN, proof(), b"", "", ("it names no site", advice.NAMELESS, "", "nameless")),
        (
            BERLIN,
            proof(SiteKey.derive("Secret")),
            b"",
            "secret",
            ("wrong key", advice.WRONG_KEY, "", "wrong_key"),
        ),
        (
            BERLIN,
            AuthRequest("Secret"),
            b"",
            "secret",
            ("invalid key", advice.WRONG_KEY, "", "wrong_key"),
        ),
        (
            BERLIN,
            proof(SiteKey.derive("its own", "paris")),
            b"",
            "",
            ('no site "paris" is known', advice.UNKNOWN_SITE, "", "unknown_site"),
        ),
        (
            BERLIN,
            proof(SiteKey.derive("another", "berlin")),
            b"",
            "",
            ("wrong key of berlin", advice.WRONG_SITE_KEY, "berlin", "wrong_key"),
        ),
        (
            BY_BOTH,
            proof(BERLIN_KEY),
            b"",
            "",
            (
                "no certificate of berlin",
                advice.WRONG_CERTIFICATE,
                "berlin",
                "wrong_certificate",
            ),
        ),
        (
            BY_BOTH,
            proof(BERLIN_KEY),
            bytes(32),
            "",
            (
                "wrong certificate of berlin",
                advice.WRONG_CERTIFICATE,
                "berlin",
                "wrong_certificate",
            ),
        ),
        (
            NEITHER,
            BY_CERTIFICATE,
            CERTIFICATE,
            "",
            (
                "berlin has neither key nor certificate",
                advice.WRONG_SITE_KEY,
                "berlin",
                "wrong_key",
            ),
        ),
        (
            DISABLED,
            proof(BERLIN_KEY),
            b"",
            "",
            ("berlin is disabled", advice.CLOSED_SITE, "berlin", "closed_site"),
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_the_operator_hears_what_was_wrong_of_which_site_and_what_to_do(
    site: KnownSite,
    request_: AuthRequest,
    certificate: bytes,
    shared: str,
    expected: tuple[str, str, str, str],
) -> None:
    verdict = judge(site, request_, certificate=certificate, shared=shared)
    assert isinstance(verdict, Denied)
    assert (verdict.reason, verdict.advice, verdict.site, verdict.cause) == expected
    if site is not DISABLED:
        # Who has proved nothing hears nothing of that.
        assert verdict.answer in ("unknown site or wrong key", "invalid key")


def test_who_sends_the_key_as_it_is_where_that_is_forbidden_is_told_apart() -> None:
    strict = Authenticator("secret", classic=False)
    verdict = strict.judge_untrusted(AuthRequest("secret"), IDENTITY, NOW)
    assert isinstance(verdict, Denied)
    assert (verdict.reason, verdict.advice, verdict.cause) == (
        'it sent the key as it is, which "classic": false forbids',
        advice.CLASSIC_GATEWAY,
        "classic",
    )
