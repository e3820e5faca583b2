"""Who may log in at the router."""

from __future__ import annotations

import attrs
import pytest

from polevpn_trio.control.authentication import Admitted, Authenticator, Denied
from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.frames.messages import AuthRequest, NativeOffer
from tests.memory_links import IDENTITY

KEY = SiteKey.derive("secret")
OTHER = attrs.evolve(IDENTITY, exporter=bytes(32))


def proof(key: SiteKey = KEY, *, raw: str = "") -> AuthRequest:
    return AuthRequest(raw, NativeOffer(name=key.name, proof=key.prove(IDENTITY)))


def test_a_proof_of_the_shared_key_is_answered_by_one_of_ours() -> None:
    verdict = Authenticator("secret").judge_untrusted(proof(), IDENTITY)
    assert isinstance(verdict, Admitted)
    assert KEY.check_router(verdict.proof, IDENTITY)


@pytest.mark.parametrize(
    "request_",
    [proof(SiteKey.derive("Secret")), proof(SiteKey.derive("secret", "berlin"))],
    ids=["key", "name"],
)
def test_a_wrong_proof_is_denied(request_: AuthRequest) -> None:
    verdict = Authenticator("secret").judge_untrusted(request_, IDENTITY)
    assert isinstance(verdict, Denied)
    assert verdict.answer == "unknown site or wrong key"


def test_a_proof_made_in_another_session_is_denied() -> None:
    assert isinstance(Authenticator("secret").judge_untrusted(proof(), OTHER), Denied)


def test_a_wrong_proof_is_not_made_good_by_the_key_as_it_is() -> None:
    wrong = proof(SiteKey.derive("Secret"), raw="secret")
    assert isinstance(Authenticator("secret").judge_untrusted(wrong, IDENTITY), Denied)


def test_the_key_as_it_is_lets_in_only_where_that_is_allowed() -> None:
    raw = AuthRequest("secret", NativeOffer())
    assert Authenticator("secret").judge_untrusted(raw, IDENTITY) == Admitted()
    verdict = Authenticator("secret", classic=False).judge_untrusted(raw, IDENTITY)
    assert isinstance(verdict, Denied)
    assert verdict.answer == "invalid key"
    assert "classic" in verdict.reason


@pytest.mark.parametrize("key", ["", "Secret", "secret "])
@pytest.mark.parametrize("classic", [True, False])
def test_another_key_as_it_is_never_does(key: str, classic: bool) -> None:
    authenticator = Authenticator("secret", classic=classic)
    verdict = authenticator.judge_untrusted(AuthRequest(key), IDENTITY)
    assert verdict == Denied("invalid key", "invalid key")
