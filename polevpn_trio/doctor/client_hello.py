"""A DTLS 1.2 ClientHello of any size, by which a router is asked whether UDP reaches it.

A server answers it with a HelloVerifyRequest of some 60 bytes, keeping nothing in mind (RFC 6347
section 4.2.1), so that one datagram of a chosen size each way is all that a probe costs. The size
is made by the padding extension (RFC 7685). Sans-IO.
"""

from __future__ import annotations

import struct

from polevpn_trio.transport import records

HELLO_VERIFY_REQUEST, SERVER_HELLO = 3, 2
_CLIENT_HELLO = 1
_DTLS_1_2 = b"\xfe\xfd"
_RECORD_HEADER, _MESSAGE_HEADER = 13, 12
_NULL_COMPRESSION = b"\x01\x00"

# RFC 5289 section 3.2: ECDHE with AES-GCM, those that our routers and the originals take.
_SUITES = bytes.fromhex("c02bc02fc02cc030")

# RFC 8422 sections 5.1.1, 5.1.2; RFC 5246 section 7.4.1.4.1: P-256, P-384; uncompressed;
# ECDSA and RSA with SHA-256 and SHA-384.
_GROUPS = bytes.fromhex("000a0006000400170018")
_POINTS = bytes.fromhex("000b00020100")
_SIGNATURES = bytes.fromhex("000d000a00080403040105030501")
_PADDING = 21


def smallest_hello() -> int:
    """Bytes of a datagram with an empty padding extension."""
    return len(client_hello(bytes(32), 0, 0))


def client_hello(random: bytes, sequence: int, size: int) -> bytes:
    """Build a datagram of ``size`` bytes (of the smallest possible size, if that is larger).

    ``random`` has 32 bytes and is the same for all hellos of a socket, ``sequence`` is the
    record's number and never the same.
    """
    fixed = _GROUPS + _POINTS + _SIGNATURES
    body = _DTLS_1_2 + random + b"\0\0" + struct.pack(">H", len(_SUITES)) + _SUITES
    body += _NULL_COMPRESSION
    overhead = _RECORD_HEADER + _MESSAGE_HEADER + len(body) + 2 + len(fixed) + 4
    padding = max(0, size - overhead)
    extensions = fixed + struct.pack(">HH", _PADDING, padding) + bytes(padding)
    body += struct.pack(">H", len(extensions)) + extensions
    length = len(body).to_bytes(3, "big")
    # Type, length, message number, and the one fragment: from 0, of that length.
    message = bytes([_CLIENT_HELLO]) + length + bytes(2) + bytes(3) + length + body
    record = bytes([records.HANDSHAKE]) + _DTLS_1_2 + bytes(2) + sequence.to_bytes(6, "big")
    return record + struct.pack(">H", len(message)) + message


def is_answer_untrusted(datagram: bytes) -> bool:
    """Whether a datagram is a DTLS server's answer to a ClientHello."""
    return (
        len(datagram) > _RECORD_HEADER
        and datagram[0] == records.HANDSHAKE
        and datagram[1] == _DTLS_1_2[0]
        and datagram[3:5] == b"\0\0"
        and datagram[_RECORD_HEADER] in (HELLO_VERIFY_REQUEST, SERVER_HELLO)
    )
