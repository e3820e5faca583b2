"""What a gateway knows of its link and of its servers. No I/O; ``now`` as in `roster`."""

from __future__ import annotations

import attrs

from polevpn_trio.management.answers import (
    DEGRADED,
    DOWN,
    ServerStatus,
    SiteStatus,
    Trouble,
)
from polevpn_trio.management.measures import Counters
from polevpn_trio.management.roster import Connected, Site

NOT_YET = Trouble("not connected yet")

FALLBACK_ADVICE = (
    "it is tried again every minute; `doctor` with this file tells what is wrong on the way to it"
)


@attrs.define
class _Server:
    url: str
    found: float | None = None
    trouble: Trouble | None = None


class Uplinks:
    """The one site of a gateway, the link that joins it, and how its servers answered."""

    def __init__(
        self,
        name: str,
        addresses: tuple[str, ...],
        networks: tuple[str, ...],
        servers: tuple[str, ...],
        now: float,
    ) -> None:
        self.site = Site(name, now, addresses, networks, trouble=NOT_YET)
        self._servers = [_Server(url) for url in servers]
        self._rank: int | None = None

    def answered(self, rank: int, trouble: Trouble | None, now: float) -> None:
        """Note what came of an attempt to log in at a server."""
        server = self._servers[rank]
        server.found, server.trouble = now, trouble
        if self.site.connected is None and trouble is not None:
            self.site.trouble = self.outage()

    def reconfigured(
        self,
        name: str,
        networks: tuple[str, ...],
        servers: tuple[str, ...],
        *,
        same_login: bool = True,
    ) -> None:
        """Note what the configuration says now.

        What is known of servers that stay is kept, unless they were asked for another login: what
        they said of that would mislead.
        """
        self.site.name, self.site.networks = name, networks
        known = {
            server.url: server
            for rank, server in enumerate(self._servers)
            if same_login or rank == self._rank
        }
        if self._rank is not None:
            used = self._servers[self._rank].url
            self._rank = servers.index(used) if used in servers else None
        self._servers = [known.get(url) or _Server(url) for url in servers]

    def joined(self, rank: int, connected: Connected) -> None:
        """Note that a link is in use, as the one before may have been until now."""
        self._end()
        self.site.connected = connected
        self.site.connections += 1
        if self.site.trouble is not None:
            self.site.changed = connected.since
        self.site.trouble = None
        self._rank = rank if rank < len(self._servers) else None

    def lost(self, trouble: Trouble, now: float) -> None:
        """Note that the link in use is gone, and that there is no other."""
        self._end()
        self.site.trouble = trouble
        self.site.changed = now
        self._rank = None

    def _end(self) -> None:
        connected = self.site.connected
        if connected is not None:
            self.site.ended = self.site.ended.plus(connected.read().counters)
            self.site.connected = None

    def outage(self) -> Trouble:
        """Why there is no link, as the servers have it."""
        troubles = [server.trouble for server in self._servers if server.trouble is not None]
        what = "; ".join(dict.fromkeys(trouble.what for trouble in troubles))
        advice = "; ".join(dict.fromkeys(each.advice for each in troubles if each.advice))
        return Trouble(what, advice)

    def status(
        self, now: float, before: Counters | None = None, seconds: float = 0.0
    ) -> SiteStatus:
        """How the site is; on a fallback it is degraded."""
        status = self.site.status(now, before, seconds)
        if self._rank and status.state != DOWN:
            first = self._servers[0]
            why = f": {first.trouble.what}" if first.trouble else ""
            trouble = Trouble(f"on a fallback, {first.url} does not work{why}", FALLBACK_ADVICE)
            return attrs.evolve(status, state=DEGRADED, troubles=(trouble, *status.troubles))
        return status

    def servers(self, now: float) -> tuple[ServerStatus, ...]:
        """How each of the servers is."""
        return tuple(
            ServerStatus(
                url=server.url,
                state=self._state(rank, server),
                age=None if server.found is None else now - server.found,
                trouble=server.trouble,
            )
            for rank, server in enumerate(self._servers)
        )

    def _state(self, rank: int, server: _Server) -> str:
        if rank == self._rank:
            return "used"
        if server.trouble is not None:
            return "failed"
        return "untried" if server.found is None else "works"
