"""The cookie exchange of DTLS (RFC 6347 section 4.2.1): a caller shows that his address is his own.

Trio does the same for its DTLS endpoints, in a task, a ClientHello at a time, at some 100 us each:
among a flood of them from forged addresses hardly any new site's would be answered. This is the
same exchange with the same cookies, for a tenth of that, where a datagram is received, and with a
bound on how much is answered. Trio sees only those that have brought their cookie back. No I/O.
"""

from __future__ import annotations

import hmac
import os
import struct

from trio import _dtls as trio_dtls

from polevpn_trio.control.token_bucket import TokenBucket
from polevpn_trio.errors import BadPacket

CHALLENGES_PER_SECOND = 10_000
"""HelloVerifyRequests in a second: a fifth of a core or so (bench/strangers.py). Were there more, a
new site would be answered sooner in a flood, and less be left for the others. As a gateway asks
again soon (`handshake.HELLO_INTERVALS`), half of all are enough for it."""
CHALLENGE_BURST = 1000
"""As many at once: sites of a router that comes back may all call it at the same moment."""

SECOND_CHALLENGES_PER_SECOND = 500
"""Of all, to those who have brought a cookie that is not good. Honest ones have that from before
the router was started anew, or have taken a minute to bring it back; most are made up."""
SECOND_CHALLENGE_BURST = 200

KEY_BYTES = trio_dtls.KEY_BYTES
COOKIE_BYTES = trio_dtls.COOKIE_LENGTH
_SALT_BYTES = trio_dtls.SALT_BYTES
_TICK_SECONDS = trio_dtls.COOKIE_REFRESH_INTERVAL
_HASH = trio_dtls.COOKIE_HASH

#  0 type | 1 version | 3 epoch and sequence number | 11 length       of the record
# 13 type | 14 length | 17 message number | 19 offset | 22 length     of the message, its fragment
# 25 version | 27 random | 59 length of session id, session id | length of cookie, cookie | rest
_HEADERS = struct.Struct("!3s8sHB3sH3s3s")
_SESSION_AT = _HEADERS.size + 2 + 32
_MESSAGE_HEADER_BYTES = 12
_NO_OFFSET = bytes(3)

_LENGTH = struct.Struct("!Q")
_SALT_FIELD = _LENGTH.pack(_SALT_BYTES)
_TICK_FIELD = struct.Struct("!QQ")

# A HelloVerifyRequest has the version of DTLS 1.0 always (RFC 6347, erratum 4103). What stands
# around the number of the record, which is that of the record that it answers.
_BODY_BYTES = 3 + COOKIE_BYTES
_BEFORE_NUMBER = b"\x16\xfe\xff"
_AFTER_NUMBER = b"".join(
    (
        (_MESSAGE_HEADER_BYTES + _BODY_BYTES).to_bytes(2, "big"),
        b"\x03",
        _BODY_BYTES.to_bytes(3, "big"),
        bytes(5),
        _BODY_BYTES.to_bytes(3, "big"),
        b"\xfe\xff",
        bytes((COOKIE_BYTES,)),
    )
)


class HelloCookies:
    """Makes cookies that `trio.DTLSEndpoint` takes for its own, having the same ``key``.

    Answers no more than ``per_second``, and ``burst`` at once; `SECOND_CHALLENGES_PER_SECOND` of
    these to cookies that are not good.
    """

    def __init__(
        self,
        now: float,
        *,
        per_second: float = CHALLENGES_PER_SECOND,
        burst: int = CHALLENGE_BURST,
    ) -> None:
        self.key = os.urandom(KEY_BYTES)
        self.unanswered = 0
        """Those that were beyond the bound."""
        # Trio has a new salt for each cookie and tries a cookie with two times: since the salt is
        # signed too, an odd and an even one do, and say which of the two times it is.
        salt = os.urandom(_SALT_BYTES - 1)
        self._salts = (salt + b"\0", salt + b"\1")
        self._budget = TokenBucket(per_second, burst, now)
        self._second_budget = TokenBucket(SECOND_CHALLENGES_PER_SECOND, SECOND_CHALLENGE_BURST, now)

    def challenge_untrusted(
        self, hello: bytes, address: tuple[object, ...], now: float
    ) -> bytes | None:
        """Judge a ClientHello; return what to answer, nothing if it is one too many.

        None if it brings back its cookie, and so is for Trio. Raises BadPacket for what is no
        whole ClientHello in one record. ``now`` is Trio's time.
        """
        number, cookie, rest = _parse_untrusted(hello)
        tick = int(now / _TICK_SECONDS)
        if len(cookie) == COOKIE_BYTES:
            its_tick = tick - ((cookie[_SALT_BYTES - 1] ^ tick) & 1)
            if hmac.compare_digest(cookie, self._cookie(max(its_tick, 0), address, rest)):
                return None
        if (cookie and not self._second_budget.take(now)) or not self._budget.take(now):
            self.unanswered += 1
            return b""
        return b"".join((_BEFORE_NUMBER, number, _AFTER_NUMBER, self._cookie(tick, address, rest)))

    def _cookie(self, tick: int, address: tuple[object, ...], rest: bytes) -> bytes:
        salt = self._salts[tick & 1]
        size = _LENGTH.pack(len(rest))
        signed = b"".join(
            (_SALT_FIELD, salt, _TICK_FIELD.pack(8, tick), _fields_of(address), size, rest)
        )
        return (salt + hmac.digest(self.key, signed, _HASH))[:COOKIE_BYTES]


def _fields_of(address: tuple[object, ...]) -> bytes:
    """Write an address with the lengths of its parts, and that of all."""
    parts = [str(part).encode() for part in address]
    inner = b"".join([_LENGTH.pack(len(part)) + part for part in parts])
    return _LENGTH.pack(len(inner)) + inner


def _parse_untrusted(hello: bytes) -> tuple[bytes, bytes, bytes]:
    """Take a ClientHello apart: number of its record, cookie, and all else that must not change."""
    try:
        _, number, size, _, whole, _, offset, part = _HEADERS.unpack_from(hello)
        session = hello[_SESSION_AT]
        cookie_at = _SESSION_AT + 1 + session
        cookie_bytes = hello[cookie_at]
    except (struct.error, IndexError) as error:
        raise BadPacket("a ClientHello is cut short") from error
    end = _HEADERS.size + size - _MESSAGE_HEADER_BYTES
    rest_at = cookie_at + 1 + cookie_bytes
    if (
        offset != _NO_OFFSET
        or whole != part
        or int.from_bytes(part, "big") != size - _MESSAGE_HEADER_BYTES
        or not rest_at <= end <= len(hello)
    ):
        raise BadPacket("a ClientHello is in pieces")
    cookie = hello[cookie_at + 1 : rest_at]
    return number, cookie, hello[_HEADERS.size : cookie_at] + hello[rest_at:end]
