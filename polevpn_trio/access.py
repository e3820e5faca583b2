"""Who may be joined to a router: judged at the login, and again whenever the rules change.

A login is good as long as it would be taken again. When the configuration is read anew, and when
the time of a site is up, all that are joined are looked at, and whoever would not be let in with
what it has shown and registered is cut off. The others are not touched.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import Protocol

import attrs
import trio
from OpenSSL import SSL

from polevpn_trio.control import advice
from polevpn_trio.control.authentication import Admitted, Authenticator, Denied
from polevpn_trio.control.config import RouterConfig
from polevpn_trio.control.login_proof import SiteKey
from polevpn_trio.control.session_identity import SessionIdentity
from polevpn_trio.control.site_directory import KnownSite
from polevpn_trio.frames.messages import AuthRequest
from polevpn_trio.transport import dtls, tls

LOOK_SECONDS = 60.0
"""How often at least the clock is looked at while a site's time will be up: it may be set."""


def utc_now() -> datetime.datetime:
    """Return the time of day."""
    return datetime.datetime.now(datetime.UTC)


class Member(Protocol):
    """A connection of a gateway."""

    @property
    def title(self) -> str:
        """The site's name if it has one, else the peer's."""

    def reconsider(self, authenticator: Authenticator, now: datetime.datetime) -> str:
        """Go on by these rules; say why they do not let it stay, "" if they do."""

    def close(self, reason: str, remedy: str = "") -> None:
        """End it."""


@attrs.frozen
class ListenerContexts:
    """What a router's listeners show; None where there is no listener."""

    kcp: SSL.Context | None
    tls: SSL.Context | None

    @classmethod
    def of(cls, config: RouterConfig) -> ListenerContexts:
        """Read the certificates. Raises HostError when OpenSSL does not take them."""
        # Whose certificate it is, the login decides.
        ask = config.sites is not None and config.sites.knows_certificates
        made = []
        for listener, make in (
            (config.kcp, dtls.server_context),
            (config.tls, tls.server_context),
        ):
            made.append(
                make(listener.cert_file, listener.key_file, ask_certificate=ask)
                if listener is not None
                else None
            )
        return cls(*made)


class Access:
    """The rules in force, and who is joined by them."""

    def __init__(self, config: RouterConfig, contexts: ListenerContexts | None = None) -> None:
        """``contexts`` are those of ``config``, by default made now.

        Raises HostError when a certificate cannot be used.
        """
        self.contexts = contexts or ListenerContexts.of(config)
        self._sites = config.sites
        self._authenticator = _authenticator(config)
        self._changed = trio.Event()
        self.members: dict[Member, None] = {}
        """Connections that are served, whether they are logged in or not."""

    def judge_untrusted(self, request: AuthRequest, identity: SessionIdentity) -> Admitted | Denied:
        """Judge a login."""
        return self._authenticator.judge_untrusted(request, identity, utc_now())

    def open_sites(self, config: RouterConfig) -> list[str]:
        """Name the sites that are let in now."""
        now = utc_now()
        return [name for name, site in (config.sites or {}).items() if not site.closed_because(now)]

    def known_sites(self) -> Iterator[tuple[KnownSite, str]]:
        """Give each site of the rules in force, and why it is not let in now, "" if it is."""
        now = utc_now()
        for site in (self._sites or {}).values():
            yield site, site.closed_because(now)

    def adopt(self, config: RouterConfig, contexts: ListenerContexts) -> Sequence[str]:
        """Judge by another configuration from now on; return whom that has cut off."""
        self.contexts = contexts
        self._sites = config.sites
        self._authenticator = _authenticator(config)
        self._changed.set()
        return self.review()

    def review(self) -> Sequence[str]:
        """Cut off all that would not be let in now; return whom."""
        now = utc_now()
        cut = []
        for member in list(self.members):
            reason = member.reconsider(self._authenticator, now)
            if reason:
                cut.append(member.title)
                member.close(reason, advice.CUT_OFF)
        return tuple(cut)

    async def watch_time(self) -> None:
        """Task "expiry": cut off sites whose time is up. Runs for ever."""
        while True:
            self._changed = trio.Event()
            self.review()
            now = utc_now()
            times = [
                site.expires
                for site in (self._sites or {}).values()
                if site.expires is not None and site.expires > now
            ]
            if not times:
                await self._changed.wait()
                continue
            with trio.move_on_after(min((min(times) - now).total_seconds(), LOOK_SECONDS)):
                await self._changed.wait()


def derive_keys(config: RouterConfig) -> None:
    """Derive what logins by shared keys are checked with, which takes a moment for each new one."""
    for key in (config.key, *config.other_keys):
        if key:
            SiteKey.derive(key)


def _authenticator(config: RouterConfig) -> Authenticator:
    return Authenticator(
        config.key, config.sites, classic=config.classic, other_keys=config.other_keys
    )
