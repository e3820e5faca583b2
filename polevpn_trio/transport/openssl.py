"""What TLS and DTLS ask of pyOpenSSL alike: certificates, reasons, a session's identity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from polevpn_trio.control.fingerprint import fingerprint_of
from polevpn_trio.control.session_identity import SessionIdentity
from polevpn_trio.errors import HostError

# The channel binding of RFC 9266.
_EXPORTER_LABEL = b"EXPORTER-Channel-Binding"
_EXPORTER_BYTES = 32

_PAIR_ADVICE = "both must be PEM, and belong together; `keys router` makes such a pair"


def reason_of(error: SSL.Error) -> str:
    """Say in a few words what OpenSSL had to complain about."""
    details = error.args[0] if error.args else ()
    reasons = [str(entry[-1]) for entry in details] if isinstance(details, list | tuple) else []
    return "; ".join(reason for reason in reasons if reason) or "refused by OpenSSL"


def use_pair(context: SSL.Context, cert_file: Path, key_file: Path) -> None:
    """Let a context show this certificate chain, with its key, both PEM.

    Raises HostError if the files cannot be read or do not belong together.
    """
    try:
        context.use_certificate_chain_file(str(cert_file))
    except SSL.Error as error:
        raise HostError(
            f"cannot use the certificate {cert_file}: {reason_of(error)}", advice=_PAIR_ADVICE
        ) from error
    try:
        context.use_privatekey_file(str(key_file))
        context.check_privatekey()
    except SSL.Error as error:
        raise HostError(
            f"cannot use the key {key_file}: {reason_of(error)}", advice=_PAIR_ADVICE
        ) from error


def ask_for_certificate(context: SSL.Context) -> None:
    """Let a server ask its clients for a certificate, and take any, or none.

    Whose certificate it is, is for the login to judge; that the client has its key, OpenSSL has
    seen to by then.
    """
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)


def follow(context: SSL.Context, current: Callable[[], SSL.Context]) -> None:
    """Let handshakes that are begun with ``context`` be finished with what ``current`` gives then.

    A server can so be given another certificate without anything being closed. Only before the
    context is used; what makes a protocol (methods, suites, options) stays that of ``context``.
    """

    # OpenSSL calls this whether or not the client has named a server (since 1.1.1).
    def switch(connection: SSL.Connection) -> None:
        taken = current()
        if taken is not connection.get_context():
            connection.set_context(taken)
            connection.set_verify(taken.get_verify_mode(), lambda *_: True)

    context.set_tlsext_servername_callback(switch)


def peer_chain(connection: SSL.Connection) -> tuple[bytes, ...]:
    """Return the certificates that the peer has shown, in DER, its own first."""
    # OpenSSL leaves the peer's own certificate out of a server's view of the chain.
    own = connection.get_peer_certificate(as_cryptography=True)
    if own is None:
        return ()
    chain = [own, *(connection.get_peer_cert_chain(as_cryptography=True) or ())]
    encoded = [certificate.public_bytes(Encoding.DER) for certificate in chain]
    return tuple(dict.fromkeys(encoded))


def session_identity(connection: SSL.Connection, *, client: bool) -> SessionIdentity:
    """Return what identifies a session whose handshake is finished."""
    own = connection.get_certificate(as_cryptography=True)
    peer = connection.get_peer_certificate(as_cryptography=True)
    ours = b"" if own is None else fingerprint_of(own.public_bytes(Encoding.DER))
    theirs = b"" if peer is None else fingerprint_of(peer.public_bytes(Encoding.DER))
    return SessionIdentity(
        connection.export_keying_material(_EXPORTER_LABEL, _EXPORTER_BYTES, b""),
        *((theirs, ours) if client else (ours, theirs)),
    )
