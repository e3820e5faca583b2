"""A TLS connection on a non-blocking socket: what `ssl.SSLSocket` is, with an exporter.

Python's `ssl` cannot export keying material (RFC 5705), to which a login is bound; pyOpenSSL can,
and is as fast on a socket. The methods are those of a socket, and what they raise are the
exceptions that `ssl` has for the same conditions.
"""

from __future__ import annotations

import os
import socket
import ssl

from OpenSSL import SSL

from polevpn_trio.control.session_identity import SessionIdentity
from polevpn_trio.transport.base import Buffer
from polevpn_trio.transport.openssl import DirectCalls, peer_chain, reason_of, session_identity

_UNEXPECTED_EOF = -1
"""pyOpenSSL's error number for a connection that ended without close_notify."""


class TlsSocket:
    """TLS over a connected, non-blocking TCP socket, which it owns from then on.

    We are the server unless ``server_name`` says whom we called.
    """

    def __init__(
        self, plain: socket.socket, context: SSL.Context, server_name: str | None = None
    ) -> None:
        self._plain = plain
        self._connection = SSL.Connection(context, plain)
        self._bulk = DirectCalls.for_connection(self._connection)
        self._is_client = server_name is not None
        if server_name is None:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()
            if not _is_address(server_name):
                # RFC 6066 section 3: names only.
                self._connection.set_tlsext_host_name(server_name.encode("idna"))

    def do_handshake(self) -> None:
        """Shake hands. Raises ssl.SSLWantReadError or SSLWantWriteError until it is done."""
        try:
            self._connection.do_handshake()
        except SSL.Error as error:
            raise _as_ssl_says(error) from None

    def send(self, data: Buffer) -> int:
        """Send one record at the most; return how many bytes of ``data`` are in it."""
        try:
            return self._bulk.send(data)
        except SSL.Error as error:
            raise _as_ssl_says(error) from None

    def recv_into(self, buffer: memoryview) -> int:
        """Receive from one record into ``buffer``; 0 when the peer has ended its direction."""
        try:
            return self._bulk.recv_into(buffer)
        except SSL.ZeroReturnError:
            return 0
        except SSL.Error as error:
            raise _as_ssl_says(error) from None

    def recv_plain_into(self, buffer: bytearray) -> int:
        """Receive past TLS, for which the connection may be over."""
        return self._plain.recv_into(buffer)

    def send_close_notify(self) -> None:
        """Tell the peer that we are done; TCP stays as it is."""
        try:
            self._connection.shutdown()
        except SSL.Error as error:
            raise _as_ssl_says(error) from None

    def shutdown(self, how: int) -> None:
        """Shut TCP down, as `socket.socket.shutdown` does."""
        self._plain.shutdown(how)

    def close(self) -> None:
        """Close the TCP socket without a word."""
        self._plain.close()

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._plain.fileno()

    @property
    def plain(self) -> socket.socket:
        """The TCP socket, to ask and to tune; what it carries is TLS's."""
        return self._plain

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """Set an option of the TCP socket."""
        self._plain.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int) -> int:
        """Return an option of the TCP socket."""
        return self._plain.getsockopt(level, option)

    def peer_chain(self) -> tuple[bytes, ...]:
        """Return the certificates that the peer has shown, in DER, its own first."""
        return peer_chain(self._connection)

    def identity(self) -> SessionIdentity:
        """Return what tells this session from all others; after the handshake."""
        return session_identity(self._connection, client=self._is_client)


def _is_address(name: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, name.partition("%")[0])
        except OSError:
            continue
        return True
    return False


def _as_ssl_says(error: SSL.Error) -> OSError:
    if isinstance(error, SSL.WantReadError):
        return ssl.SSLWantReadError()
    if isinstance(error, SSL.WantWriteError):
        return ssl.SSLWantWriteError()
    if isinstance(error, SSL.SysCallError):
        number = error.args[0]
        if number == _UNEXPECTED_EOF:
            return ssl.SSLEOFError("unexpected end of the connection")
        return OSError(number, os.strerror(number))
    if isinstance(error, SSL.ZeroReturnError):
        return ssl.SSLZeroReturnError("the peer has ended the connection")
    return ssl.SSLError(reason_of(error))
