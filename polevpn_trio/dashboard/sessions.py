"""Who may look: logins by the token, the sessions that they begin, and guesses. No I/O.

``now`` is in seconds of one clock that goes forward.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from ipaddress import IPv6Address, ip_address, ip_network

SESSION_SECONDS = 12 * 3600.0
"""A working day; then the token is asked for again."""

MOST_SESSIONS = 64
"""Of more than that the oldest ends."""

GUESSES = 5
GUESS_SECONDS = 10.0
"""Wrong tokens from one host: so many at once, then one in so many seconds."""

MOST_HOSTS = 1024
"""Hosts whose guesses are remembered."""


class Doorkeeper:
    """Compares tokens, and remembers who came in."""

    def __init__(self, token: str) -> None:
        # Browsers do not tell ports apart: through SSH, several routers may be one host to them.
        self.cookie = f"polevpn-{secrets.token_hex(4)}"
        """Name under which browsers keep their session."""
        self._digest = _digest(token)
        self._sessions: dict[str, float] = {}
        """When each began, by the digest of what the browser keeps."""
        self._spent_until: dict[str, float] = {}
        """Each guess spends so many seconds of its host's; what is long past is free again."""
        self.failures = 0

    def waits(self, host: str, now: float) -> float:
        """Seconds until this host may try a token; 0 if at once."""
        spent = self._spent_until.get(_neighbourhood(host), now)
        return max(0.0, spent - (GUESSES - 1) * GUESS_SECONDS - now)

    def login(self, token: str, host: str, now: float) -> str | None:
        """Begin a session; return what the browser is to keep, None if the token is wrong.

        A host that has to wait must not come this far.
        """
        if hmac.compare_digest(_digest(token), self._digest):
            self._forget_old(now)
            while len(self._sessions) >= MOST_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            session = secrets.token_urlsafe(32)
            self._sessions[_digest(session).hex()] = now
            return session
        self.failures += 1
        self._note_guess(_neighbourhood(host), now)
        return None

    def ends(self, session: str, now: float) -> float | None:
        """When a session ends; None if there is no such session."""
        begun = self._sessions.get(_digest(session).hex())
        if begun is None or begun + SESSION_SECONDS <= now:
            return None
        return begun + SESSION_SECONDS

    def logout(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(session).hex(), None)

    def _forget_old(self, now: float) -> None:
        for key, begun in list(self._sessions.items()):
            if begun + SESSION_SECONDS <= now:
                del self._sessions[key]

    def _note_guess(self, host: str, now: float) -> None:
        spent = max(self._spent_until.pop(host, now), now)
        while len(self._spent_until) >= MOST_HOSTS:
            del self._spent_until[next(iter(self._spent_until))]
        self._spent_until[host] = spent + GUESS_SECONDS


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _neighbourhood(host: str) -> str:
    """The host, or with IPv6 its network: whoever has one address there has them all."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((int(address), 64), strict=False))
    return host
