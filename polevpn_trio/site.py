"""A site's own end of the tunnel: its TUN device, and the host's addresses and routes for it.

The gateway has one; so has a router that joins a network itself.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface, IPv6Interface
from typing import TYPE_CHECKING

import attrs
import trio

from polevpn_trio.batch import SEQUENCES_FOREIGN, SEQUENCES_OFFLOAD, FrameBatch
from polevpn_trio.control.config import SiteConfig
from polevpn_trio.forwarding.prefix_table import PrefixTable
from polevpn_trio.frames.codec import (
    GROUP_ALL,
    GROUP_BY_SOURCE,
    S2C_IPDATA,
    FrameReader,
    FrameRun,
)
from polevpn_trio.frames.segmentation import clear_sequences
from polevpn_trio.tun.device import TunDevice

if TYPE_CHECKING:
    from polevpn_trio.tun.host_network import HostNetwork, HostSettings

# What changes the host is imported where a site is opened: its netlink library takes a quarter of
# the time that a router without a site needs to start.

log = logging.getLogger(__name__)

WRITER_BATCHES = 64
"""Batches (of at most about 128 KiB) that may wait for the TUN device."""


@attrs.frozen
class SiteStatistics:
    """Packets for the site that did not reach its device, by reason, and the device's own."""

    not_in_acls: int
    writer_full: int
    device: object


class SourceList:
    """The ``acls`` of a gateway: which source addresses may reach the site."""

    def __init__(self, site: SiteConfig) -> None:
        self._table: PrefixTable[bool] | None = None
        if site.acls:
            self._table = PrefixTable()
            for network in site.acls:
                self._table.set(network, True)

    @property
    def restricts(self) -> bool:
        """Whether there is a list at all; without one every source may pass."""
        return self._table is not None

    def allows(self, source: bytes) -> bool:
        """Whether packets from this address (4 or 16 bytes) may pass."""
        return self._table is None or self._table.lookup(source) is not None


class Site:
    """The TUN device of one site, with the task that writes to it.

    Made by `open_site`.
    """

    def __init__(self, config: SiteConfig, device: TunDevice, network: HostNetwork) -> None:
        self.device = device
        self.network = network
        self._sources = SourceList(config)
        self._send, self._receive = trio.open_memory_channel[FrameBatch](WRITER_BATCHES)
        # The task "tun writer" waits for something to do.
        self._writer_idle = False
        self._not_in_acls = 0
        self._writer_full = 0

    def reader(self) -> FrameReader:
        """Make the reader for a link's stream whose packets are for this site."""
        group = GROUP_BY_SOURCE if self._sources.restricts else GROUP_ALL
        return FrameReader(S2C_IPDATA, S2C_IPDATA, group)

    async def change(self, config: SiteConfig) -> None:
        """Go on with other sources that may send, routes, forwarding, and masquerading.

        Raises HostError when this machine does not let us; then all is as before.
        """
        await self.network.change(_host_settings(config, self.device))
        self._sources = SourceList(config)

    async def deliver(self, run: FrameRun) -> None:
        """Pass packets from the link to the device, if their source may send to this site."""
        batch = self._admit(run)
        self._not_in_acls += run.packets - batch.packets
        if batch.packets and not self._write_nowait(batch):
            await self._send.send(batch)

    def take_nowait(self, run: FrameRun) -> bool:
        """Do what `deliver` does, as long as it takes no waiting; False if it does."""
        batch = self._admit(run)
        if batch.packets and not self._write_nowait(batch):
            return False
        self._not_in_acls += run.packets - batch.packets
        return True

    def _admit(self, run: FrameRun) -> FrameBatch:
        """Keep those of a run's packets whose source may send to this site."""
        if run.sequences == SEQUENCES_FOREIGN:
            clear_sequences(run.data)
        batch = FrameBatch(run.data, run.packets)
        if not self._sources.restricts:
            return batch
        if not run.address:
            # Its reader is older than the list, and groups by nothing.
            return self._admitted(batch)
        return batch if self._sources.allows(run.address) else FrameBatch(b"", 0)

    def _write_nowait(self, batch: FrameBatch) -> bool:
        """Write to the device at once if nothing waits for it, else queue; False if it is full."""
        if self._writer_idle:
            if not self.device.write_batch_nowait(batch.data):
                # The device keeps the rest: let the task wait until that is written.
                self._writer_idle = False
                self._send.send_nowait(FrameBatch(b"", 0))
            return True
        try:
            self._send.send_nowait(batch)
        except trio.WouldBlock:
            return False
        return True

    def deliver_nowait(self, batch: FrameBatch) -> bool:
        """Pass packets on without waiting; False (and counted) when the writer is full.

        Packets that the ``acls`` do not let in are left out and counted.
        """
        if self._sources.restricts:
            admitted = self._admitted(batch)
            self._not_in_acls += batch.packets - admitted.packets
            batch = admitted
            if not batch.packets:
                return True
        if not self._write_nowait(batch):
            self._writer_full += batch.packets
            return False
        return True

    def _admitted(self, batch: FrameBatch) -> FrameBatch:
        """Keep those of a batch's packets, whatever it was grouped by, whose source may pass."""
        kept = []
        packets = 0
        reader = self.reader()
        reader.sequences = SEQUENCES_OFFLOAD
        for run in reader.receive_data_untrusted(batch.data):
            if self._sources.allows(run.address):
                kept.append(run.data)
                packets += run.packets
        return FrameBatch(b"".join(kept), packets)

    async def write(self) -> None:
        """Write to the device what could not be written at once.

        The task "tun writer"; runs for ever.
        """
        while True:
            try:
                batch = self._receive.receive_nowait()
            except trio.WouldBlock:
                self._writer_idle = True
                batch = await self._receive.receive()
                self._writer_idle = False
            await self.device.write_batch(batch.data)

    def statistics(self) -> SiteStatistics:
        """Return the counters."""
        return SiteStatistics(
            not_in_acls=self._not_in_acls,
            writer_full=self._writer_full,
            device=self.device.statistics(),
        )


def open_device(config: SiteConfig) -> TunDevice:
    """Create the TUN device of a site, without an address yet. Raises HostError."""
    return TunDevice.open(config.interface, config.mtu, mss_clamp=config.mss_clamp)


@asynccontextmanager
async def open_site(config: SiteConfig, device: TunDevice | None = None) -> AsyncIterator[Site]:
    """Give a TUN device, by default a new one, its addresses and routes.

    All of it is undone at the end. Raises HostError when this machine does not let us.
    """
    from polevpn_trio.tun.host_network import applied

    device = device or open_device(config)
    try:
        settings = _host_settings(config, device)
        async with applied(settings) as network:
            log.info(
                "%s is up: %s, routes %s",
                device.name,
                ", ".join(map(str, settings.addresses)),
                ", ".join(map(str, config.route_networks)) or "none",
            )
            yield Site(config, device, network)
    finally:
        device.close()


def _host_settings(config: SiteConfig, device: TunDevice) -> HostSettings:
    from polevpn_trio.tun.host_network import HostSettings

    addresses: list[IPv4Interface | IPv6Interface] = []
    if config.gateway is not None:
        addresses.append(IPv4Interface((config.gateway, 32)))
    if config.gateway6 is not None:
        addresses.append(IPv6Interface((config.gateway6, 128)))
    return HostSettings(
        interface=device.name,
        mtu=config.mtu,
        addresses=tuple(addresses),
        routes=config.route_networks,
        forward=config.forward,
        masquerade=config.masquerade,
    )
