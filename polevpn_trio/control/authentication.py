"""Who may log in at the router. No I/O."""

from __future__ import annotations

import hmac

import attrs

from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.control.session_identity import SessionIdentity
from polevpn_trio.frames.messages import AuthRequest

INVALID_KEY = "invalid key"
"""What the originals say to a wrong key."""


MAX_NAME = 63
"""Characters of a site's name."""


@attrs.frozen
class Admitted:
    """A gateway may come in; ``proof`` is the router's own, b"" if the gateway asked for none."""

    proof: bytes = b""


@attrs.frozen
class Denied:
    """A gateway may not: ``answer`` is for its log, ``reason`` for ours."""

    answer: str
    reason: str


class Authenticator:
    """Judges logins by the key that all gateways share.

    A gateway proves that it knows the key, or, if ``classic``, may send it as it is.
    """

    def __init__(self, key: str, *, classic: bool = True) -> None:
        self._raw = key.encode()
        self._shared = SiteKey.derive(key)
        self._classic = classic

    def judge_untrusted(self, request: AuthRequest, identity: SessionIdentity) -> Admitted | Denied:
        """Judge the first frame of a connection. Never raises."""
        native = request.native
        if native is not None and native.proof:
            return self._judge_proof(native.proof, native.name, identity)
        if not hmac.compare_digest(request.key.encode(), self._raw):
            return Denied(INVALID_KEY, INVALID_KEY)
        if not self._classic:
            return Denied(INVALID_KEY, 'the key was sent as it is, which "classic": false forbids')
        return Admitted()

    def _judge_proof(self, proof: bytes, name: str, identity: SessionIdentity) -> Admitted | Denied:
        if name or not self._shared.verifier.check(proof, name, identity):
            return Denied(
                "unknown site or wrong key", f'wrong key of site "{name}"' if name else "wrong key"
            )
        return Admitted(self._shared.verifier.prove(name, identity))
