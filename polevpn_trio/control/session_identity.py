"""What a login is bound to."""

from __future__ import annotations

import attrs


@attrs.frozen
class SessionIdentity:
    """What tells one TLS or DTLS session from all others, the same at both of its ends.

    Who sits in between has two sessions, and these differ in all of it.
    """

    exporter: bytes = attrs.field(repr=False)
    """32 bytes that only the two ends know (RFC 5705, as RFC 9266 uses it)."""
    router_certificate: bytes
    """SHA-256 of the certificate that the router has shown, in DER."""
    gateway_certificate: bytes = b""
    """The same of the gateway's; empty if it has shown none."""
