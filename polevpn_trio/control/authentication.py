"""Who may log in at the router. No I/O."""

from __future__ import annotations

import datetime
import hmac
from collections.abc import Sequence

import attrs

from polevpn_trio.control import advice
from polevpn_trio.control.log import printable
from polevpn_trio.control.login_proof import SiteKey, Verifier
from polevpn_trio.control.session_identity import SessionIdentity
from polevpn_trio.control.site_directory import KnownSite, SiteDirectory
from polevpn_trio.frames.messages import AuthRequest, NativeOffer

INVALID_KEY = "invalid key"
"""What the originals say to a wrong key."""

UNKNOWN = "unknown site or wrong key"
"""What strangers hear, so that they cannot try out which sites there are."""

MAX_NAME = 63
"""Characters of a site's name that are repeated in our log."""

CAUSES = ("wrong_key", "unknown_site", "wrong_certificate", "closed_site", "nameless", "classic")
"""Why logins are refused, in words to count by."""

_NO_KEY = Verifier(bytes(32), bytes(32))
"""Compared with where there is none, so that this takes as long. Nobody can prove this key: no
client key is known whose hash is all zeros."""

KEYS_TRIED = 2
"""Keys that a proof is compared with, also of a site that has fewer, or that is not known: most
have one, and two while it is renewed."""


@attrs.frozen
class Admitted:
    """A gateway may come in.

    ``proof`` is the router's own, b"" if the gateway asked for none; ``site`` is None for one
    that has come in by the shared key.
    """

    proof: bytes = b""
    site: KnownSite | None = None
    verifier: Verifier | None = attrs.field(default=None, eq=False, repr=False)
    """Of the key that it has; None if it showed nothing but a certificate."""
    certificate: bytes = attrs.field(default=b"", eq=False)
    """SHA-256 of the one that it showed."""
    classic: bool = attrs.field(default=False, eq=False)
    """It has sent the key as it is."""


@attrs.frozen
class Denied:
    """A gateway may not: ``answer`` is for its log, ``reason`` for ours.

    ``advice`` is what our operator can do about it, ``site`` which one it says to be, if known.
    """

    answer: str
    reason: str
    advice: str = attrs.field(default="", eq=False)
    site: str = attrs.field(default="", eq=False)
    cause: str = attrs.field(default="", eq=False)
    """The ``reason`` as one of `CAUSES`."""


class Authenticator:
    """Judges logins by the sites that are known, and by the key that all share, if there is one.

    A gateway proves that it knows its key, or shows its certificate, or, if ``classic``, may
    send the shared key as it is. An empty ``key`` is none; ``other_keys`` are as good.
    """

    def __init__(
        self,
        key: str,
        sites: SiteDirectory | None = None,
        *,
        classic: bool = True,
        other_keys: Sequence[str] = (),
    ) -> None:
        self._shared = tuple(
            (each.encode(), SiteKey.derive(each).verifier) for each in (key, *other_keys) if each
        )
        self._sites = SiteDirectory({}) if sites is None else sites
        self._classic = classic

    def judge_untrusted(
        self, request: AuthRequest, identity: SessionIdentity, now: datetime.datetime
    ) -> Admitted | Denied:
        """Judge the first frame of a connection. Never raises."""
        native = request.native
        if native is not None and native.name:
            return self._judge_site(native, identity, now)
        if native is not None and native.proof:
            return self._judge_proof(native, identity)
        found = None
        for raw, verifier in self._shared:
            if hmac.compare_digest(request.key.encode(), raw):
                found = verifier
        if found is None:
            return Denied(INVALID_KEY, INVALID_KEY, advice.WRONG_KEY, cause="wrong_key")
        if not self._classic:
            reason = 'it sent the key as it is, which "classic": false forbids'
            return Denied(INVALID_KEY, reason, advice.CLASSIC_GATEWAY, cause="classic")
        return Admitted(verifier=found, classic=True)

    def _judge_proof(self, native: NativeOffer, identity: SessionIdentity) -> Admitted | Denied:
        """Judge a gateway that proves to know the shared key, or one of them."""
        if not self._shared:
            _NO_KEY.check(native.proof, "", identity)
            return Denied(UNKNOWN, "it names no site", advice.NAMELESS, cause="nameless")
        found = None
        for _, verifier in self._shared:
            if verifier.check(native.proof, "", identity):
                found = verifier
        if found is None:
            return Denied(UNKNOWN, "wrong key", advice.WRONG_KEY, cause="wrong_key")
        return Admitted(found.prove("", identity), verifier=found)

    def _judge_site(
        self, native: NativeOffer, identity: SessionIdentity, now: datetime.datetime
    ) -> Admitted | Denied:
        name = native.name
        # Here, and not where it is needed: unknown names shall not take longer.
        shown_name = printable(name[:MAX_NAME])
        site = self._sites.get(name)
        verifiers = () if site is None else site.verifiers
        matching = None
        for verifier in verifiers:
            if verifier.check(native.proof, name, identity):
                matching = verifier
        for _ in range(KEYS_TRIED - len(verifiers)):
            _NO_KEY.check(native.proof, name, identity)
        if site is None:
            reason = f'no site "{shown_name}" is known'
            return Denied(UNKNOWN, reason, advice.UNKNOWN_SITE, cause="unknown_site")
        if site.verifiers and matching is None:
            return Denied(UNKNOWN, f"wrong key of {name}", advice.WRONG_SITE_KEY, name, "wrong_key")
        shown = identity.gateway_certificate
        if site.certificates and not any(
            hmac.compare_digest(shown, known) for known in site.certificates
        ):
            reason = f"{'wrong' if shown else 'no'} certificate of {name}"
            return Denied(UNKNOWN, reason, advice.WRONG_CERTIFICATE, name, "wrong_certificate")
        if not site.verifiers and not site.certificates:
            reason = f"{name} has neither key nor certificate"
            return Denied(UNKNOWN, reason, advice.WRONG_SITE_KEY, name, "wrong_key")
        # Only now: who cannot prove to be the site need not know.
        if closed := site.closed_because(now):
            answer = f"site {name} is {closed}"
            return Denied(answer, f"{name} is {closed}", advice.CLOSED_SITE, name, "closed_site")
        proof = matching.prove(name, identity) if matching else b""
        return Admitted(proof, site, matching, shown)

    def reconsider(self, admitted: Admitted, now: datetime.datetime) -> str:
        """Say why a gateway that was let in, by other rules perhaps, would not be now.

        "" if it would.
        """
        if admitted.site is not None:
            return self._reconsider_site(admitted, admitted.site.name, now)
        if all(verifier != admitted.verifier for _, verifier in self._shared):
            return "its shared key is not taken any more"
        if admitted.classic and not self._classic:
            return 'it sent the key as it is, which "classic": false forbids'
        return ""

    def _reconsider_site(self, admitted: Admitted, name: str, now: datetime.datetime) -> str:
        site = self._sites.get(name)
        if site is None:
            return f"site {name} was removed"
        if site.verifiers and admitted.verifier not in site.verifiers:
            return f"the key of site {name} was replaced"
        if site.certificates and admitted.certificate not in site.certificates:
            return f"the certificate of site {name} was replaced"
        closed = site.closed_because(now)
        return f"site {name} is {closed}" if closed else ""

    def site(self, name: str) -> KnownSite | None:
        """Return what is known of a site by now."""
        return self._sites.get(name)
