"""The router's own site, as a peer that packets can be forwarded to, and from."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import trio

from polevpn_trio.batch import SEQUENCES_OFFLOAD, FrameBatch
from polevpn_trio.control.config import RouterConfig
from polevpn_trio.control.log import ContextLogger
from polevpn_trio.control.overlaps import OWN_PRIORITY
from polevpn_trio.control.policy_config import OWN_SITE
from polevpn_trio.control.refused_packets import RefusedPackets
from polevpn_trio.forwarding.forwarder import Address, Forwarder
from polevpn_trio.frames.codec import GROUP_BY_DESTINATION, S2C_IPDATA, FrameReader
from polevpn_trio.management.measures import read_site
from polevpn_trio.management.roster import Connected, Roster
from polevpn_trio.nursery_tree import Branch
from polevpn_trio.site import Site

log = ContextLogger(logging.getLogger(__name__))


class SitePeer:
    """Carries packets between a site and the router's table.

    ``super_packets``: whether those of the site's hosts are to stay as the kernel makes them.
    """

    takes_ipv6 = True
    sequences = SEQUENCES_OFFLOAD

    def __init__(self, forwarder: Forwarder, site: Site, *, super_packets: bool) -> None:
        self._forwarder = forwarder
        self._site = site
        self._super_packets = super_packets
        self._refused = RefusedPackets(site.device.name)
        self._reader = FrameReader(S2C_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION)
        self._reader.sequences = SEQUENCES_OFFLOAD

    def enqueue_nowait(self, batch: FrameBatch) -> bool:
        """Queue packets for the site's device."""
        return self._site.deliver_nowait(batch)

    def flush(self) -> None:
        """Do nothing: the device has what it was given."""

    def note_refused(self, reason: str, packets: int, source: bytes) -> None:
        """Count packets of the site that were dropped, and say so in the log."""
        self._refused.note(reason, packets, source, trio.current_time(), log)

    @property
    def refused(self) -> Mapping[str, int]:
        """Packets of the site that the router refused to pass on, by reason."""
        return self._refused.counts

    async def read(self) -> None:
        """Task "tun reader": packets of the site's hosts go to their routes."""
        self._site.device.keep_super_packets(self._super_packets)
        await self._site.device.while_readable(self._route)

    def _route(self) -> bool:
        batch = self._site.device.read_batch_nowait(S2C_IPDATA)
        if batch is not None:
            runs = self._reader.receive_data_untrusted(batch.data)
            self._forwarder.route_batch(runs, self, trio.current_time())
        return True


def join_site(
    forwarder: Forwarder, roster: Roster, root: Branch, config: RouterConfig, site: Site
) -> SitePeer:
    """Make a router's own site one of those that it forwards between."""
    own = config.site
    assert own is not None
    native = config.native and "gso" in config.features
    peer = SitePeer(forwarder, site, super_packets=native)
    gateways: list[Address] = [each for each in (own.gateway, own.gateway6) if each is not None]
    roster.joined(
        peer,
        str(gateways[0]),
        gateways,
        own.local_networks,
        Connected(
            identifier="",
            transport="local",
            peer=site.device.name,
            since=trio.current_time(),
            features=tuple(sorted(config.features)),
            read=lambda: read_site(site.statistics(), **peer.refused),
            heard=trio.current_time,
            largest_packet=lambda: own.mtu,
        ),
    )
    forwarder.name(peer, OWN_SITE)
    forwarder.register(peer, gateways, own.local_networks, OWN_PRIORITY)
    root.start_soon("tun reader", peer.read)
    root.start_soon("tun writer", site.write, site.statistics)
    return peer
