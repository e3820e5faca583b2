"""A gateway's link to the router."""

from __future__ import annotations

import attrs
import trio

from polevpn_trio.control.config import GatewayConfig, KcpOptions, ServerUrl
from polevpn_trio.control.log import new_connection_id
from polevpn_trio.control.registration import takes_super_packets
from polevpn_trio.control.router_trust import RouterTrust
from polevpn_trio.frames.codec import FrameReader, FrameRun
from polevpn_trio.management.measures import read_link
from polevpn_trio.management.roster import Connected
from polevpn_trio.transport.base import Link, LinkStatistics
from polevpn_trio.transport.outgoing import OutgoingQueue, OutgoingStatistics


@attrs.frozen
class GatewayStatistics:
    """Counters of the link in use, and packets from the site that found none.

    ``malformed`` packets came from the router; ``not_ipv4`` are IPv6 packets for a router
    that knows only IPv4.
    """

    link: LinkStatistics
    outgoing: OutgoingStatistics
    no_link: int
    not_ipv4: int
    malformed: int


@attrs.frozen
class LinkSettings:
    """What of a configuration links are made by: once it has changed, another one is due."""

    servers: tuple[ServerUrl, ...]
    key: str = attrs.field(repr=False)
    name: str
    certificate: bytes
    """Digest of our own; b"" if there is none."""
    trust: RouterTrust
    features: tuple[str, ...] | None
    classic: bool
    kcp_options: KcpOptions
    tcp_congestion: str

    @classmethod
    def of(cls, config: GatewayConfig) -> LinkSettings:
        """Pick them out of a configuration."""
        return cls(
            servers=config.servers,
            key=config.key,
            name=config.name,
            certificate=config.certificate.digest if config.certificate else b"",
            trust=config.router_trust,
            features=config.features if config.native else None,
            classic=config.classic,
            kcp_options=config.kcp_options,
            tcp_congestion=config.tcp_congestion,
        )

    def differs_in_servers_at_most(self, other: LinkSettings) -> bool:
        """Whether a server that both name answers to one as to the other."""
        return attrs.evolve(self, servers=other.servers) == other


@attrs.frozen
class Uplink:
    """A link to the router on which we are logged in.

    ``rank`` is the server's place in the configuration, ``native`` the features agreed on
    (None towards a classic router), ``waiting`` what arrived behind the answer to our login,
    ``settings`` what it was made by.
    ``proved`` is whether the router has not been sent our key, but a proof of it. ``identifier``
    ties the lines about the link in the log together.
    """

    link: Link
    rank: int
    reader: FrameReader
    native: frozenset[str] | None
    waiting: tuple[FrameRun, ...]
    settings: LinkSettings
    proved: bool = False
    identifier: str = attrs.field(factory=new_connection_id)
    since: float = attrs.field(factory=trio.current_time)

    @property
    def takes_ipv6(self) -> bool:
        """Whether the router understands IPv6 packets."""
        return self.native is not None and "ipv6" in self.native

    @property
    def takes_super_packets(self) -> bool:
        """Whether super-packets may be sent to the router."""
        return self.native is not None and takes_super_packets(self.native)

    @property
    def has_datagrams(self) -> bool:
        """Whether packets travel beside the link's stream, one by one."""
        return self.native is not None and "datagram" in self.native

    @property
    def has_repair(self) -> bool:
        """Whether the router makes use of repairs for them."""
        return self.native is not None and "fec" in self.native

    @property
    def hands_over(self) -> bool:
        """Whether the link may take over from another, or leave to another, without a loss."""
        return self.native is not None and "handover" in self.native

    def ask(self) -> bool:
        """Ask the router for a sign of life beside the link's stream; False if that cannot be."""
        if self.native is None or "probe" not in self.native:
            return False
        self.link.ask()
        return True

    def connected(self, outgoing: OutgoingQueue) -> Connected:
        """Tell operators of the link, and of what waits for it from now on."""
        link = self.link
        before = outgoing.statistics()
        return Connected(
            identifier=self.identifier,
            transport=link.scheme,
            peer=link.peer,
            since=self.since,
            features=None if self.native is None else tuple(sorted(self.native)),
            read=lambda: read_link(
                link.statistics(),
                outgoing.statistics(),
                before=before,
                malformed=self.reader.malformed,
            ),
            heard=lambda: link.heard,
            largest_packet=lambda: link.largest_packet,
        )
