"""Proof of a key at login, without the key: SCRAM's arithmetic (RFC 5802), bound to the session.

Both sides derive the same from a key and a site's name (scrypt, RFC 7914)::

    salted     = scrypt(key, salt = purpose and name)
    client_key = HMAC(salted, "Client Key")       stored_key = SHA-256(client_key)
    server_key = HMAC(salted, "Server Key")

The router keeps only ``stored_key`` and ``server_key``, the `Verifier`: with these it can judge a
proof and prove itself, but whoever steals them can neither log in nor read the key. The gateway
sends ``client_key XOR HMAC(stored_key, what identifies the session)``. That is worth nothing in
any other session, nor to a router that has not got the verifier: what identifies the session is
an exporter that only its two ends know (RFC 9266) and the certificate that the router has shown.
The router answers with ``HMAC(server_key, what identifies the session)``.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac

import attrs

from polevpn_trio.control.session_identity import SessionIdentity

PROOF_BYTES = 32

# scrypt with 16 MiB and about 40 ms: derived once at start, not at each login.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 1 << 14, 8, 1
_SCRYPT_MEMORY = 64 << 20
_PURPOSE = b"site login 1\0"
_GATEWAY, _ROUTER = b"gateway\0", b"router\0"
_TEXT_PREFIX = "scrypt1:"


@attrs.frozen
class Verifier:
    """What the router keeps of a key."""

    stored_key: bytes = attrs.field(repr=False)
    server_key: bytes = attrs.field(repr=False)

    def __str__(self) -> str:
        """Return the text that stands in a site's file."""
        return _TEXT_PREFIX + base64.b64encode(self.stored_key + self.server_key).decode()

    @classmethod
    def from_text(cls, text: str) -> Verifier:
        """Read what `str` gave. Raises ValueError."""
        try:
            both = base64.b64decode(text.removeprefix(_TEXT_PREFIX), validate=True)
        except binascii.Error:
            both = b""
        if not text.startswith(_TEXT_PREFIX) or len(both) != 2 * PROOF_BYTES:
            raise ValueError(f'not the hash of a key, "{_TEXT_PREFIX}..."')
        return cls(both[:PROOF_BYTES], both[PROOF_BYTES:])

    def check(self, proof: bytes, name: str, identity: SessionIdentity) -> bool:
        """Whether a gateway that sends ``proof`` in this session knows the key of ``name``."""
        if len(proof) != PROOF_BYTES:
            return False
        mask = hmac.digest(self.stored_key, _message(_GATEWAY, name, identity), "sha256")
        client_key = _xor(proof, mask)
        return hmac.compare_digest(hashlib.sha256(client_key).digest(), self.stored_key)

    def prove(self, name: str, identity: SessionIdentity) -> bytes:
        """Return the router's proof that it has the verifier of ``name``."""
        return hmac.digest(self.server_key, _message(_ROUTER, name, identity), "sha256")


@attrs.frozen
class SiteKey:
    """A key as the gateway holds it; made by `derive`."""

    name: str
    """Of the site; "" for the key that all sites share."""
    client_key: bytes = attrs.field(repr=False)
    verifier: Verifier

    @classmethod
    def derive(cls, key: str, name: str = "") -> SiteKey:
        """Derive what the proofs need; takes some 40 ms the first time."""
        return _derive(key, name)

    def prove(self, identity: SessionIdentity) -> bytes:
        """Return the gateway's proof that it knows the key, good for this session only."""
        message = _message(_GATEWAY, self.name, identity)
        return _xor(self.client_key, hmac.digest(self.verifier.stored_key, message, "sha256"))

    def check_router(self, proof: bytes, identity: SessionIdentity) -> bool:
        """Whether a router that sends ``proof`` in this session has the verifier of our key."""
        return hmac.compare_digest(proof, self.verifier.prove(self.name, identity))


@functools.lru_cache(maxsize=16)
def _derive(key: str, name: str) -> SiteKey:
    salted = hashlib.scrypt(
        key.encode(),
        salt=_PURPOSE + name.encode(),
        n=_SCRYPT_N,
        r=_SCRYPT_R,
        p=_SCRYPT_P,
        maxmem=_SCRYPT_MEMORY,
        dklen=PROOF_BYTES,
    )
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return SiteKey(name, client_key, Verifier(hashlib.sha256(client_key).digest(), server_key))


def _message(role: bytes, name: str, identity: SessionIdentity) -> bytes:
    # The certificate adds to the exporter where a TLS 1.2 peer lacks the extended master secret
    # (RFC 7627): without that, sessions with two different servers might export the same.
    return role + identity.exporter + identity.router_certificate + name.encode()


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
