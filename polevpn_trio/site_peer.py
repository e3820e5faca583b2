"""The router's own site, as a peer that packets can be forwarded to, and from."""

from __future__ import annotations

from polevpn_trio.batch import SEQUENCES_OFFLOAD, FrameBatch
from polevpn_trio.forwarding.forwarder import Forwarder
from polevpn_trio.frames.codec import GROUP_BY_DESTINATION, S2C_IPDATA, FrameReader
from polevpn_trio.site import Site


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
        self._reader = FrameReader(S2C_IPDATA, S2C_IPDATA, GROUP_BY_DESTINATION)
        self._reader.sequences = SEQUENCES_OFFLOAD

    def enqueue_nowait(self, batch: FrameBatch) -> bool:
        """Queue packets for the site's device."""
        return self._site.deliver_nowait(batch)

    def flush(self) -> None:
        """Do nothing: the device has what it was given."""

    async def read(self) -> None:
        """Task "tun reader": packets of the site's hosts go to their routes."""
        self._site.device.keep_super_packets(self._super_packets)
        await self._site.device.while_readable(self._route)

    def _route(self) -> bool:
        batch = self._site.device.read_batch_nowait(S2C_IPDATA)
        if batch is not None:
            runs = self._reader.receive_data_untrusted(batch.data)
            self._forwarder.route_batch(runs, self)
        return True
