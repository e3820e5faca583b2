"""The TUN device of this host: whole batches of packets in and out of its network stack."""

from __future__ import annotations

import array
import errno
import fcntl
import os
from types import TracebackType

import attrs
import pytun
import trio

from polevpn_trio.batch import SEQUENCES_OFFLOAD, SEQUENCES_ZERO, FrameBatch
from polevpn_trio.coroutines import of_python
from polevpn_trio.errors import HostError
from polevpn_trio.transport import eager
from polevpn_trio.transport.eager import Handler
from polevpn_trio.tun.offload import VNET_HEADER, Coalescer, Splitter

# Specification (linux/if_tun.h).
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETLE = 0x400454DC
_TUN_F_CSUM = 0x01
_TUN_F_TSO4 = 0x02
_TUN_F_TSO6 = 0x04
_TUN_F_TSO_ECN = 0x08
_TUN_F_USO4 = 0x20
_TUN_F_USO6 = 0x40
_TCP_OFFLOADS = _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6 | _TUN_F_TSO_ECN
_UDP_OFFLOADS = _TUN_F_USO4 | _TUN_F_USO6

# Tuning.
READ_BUDGET = 128 * 1024
"""Bytes of frames after which a reader stops and passes them on: two full super-packets."""
READ_PACKETS = 1024
"""Packets after which it stops, too, so that a flood of tiny or bad ones cannot hold it."""
WRITE_TURN = 512 * 1024
"""Bytes written before other tasks get a turn; the kernel takes these in about a millisecond."""


@attrs.frozen
class TunStatistics:
    """Counts since the device was opened; "read" means out of the host's network stack."""

    packets_read: int
    """Packets that were read, those inside super-packets each counted."""
    bytes_read: int
    """Their bytes, frame headers not counted; the headers of a super-packet that was not cut
    count once."""
    super_packets_read: int
    packets_written: int
    """Packets that the kernel took, those inside super-packets each counted."""
    bytes_written: int
    """Bytes that the kernel took; the headers of a super-packet count once."""
    super_packets_written: int
    clamped: int
    """TCP SYNs, of both directions, whose MSS was lowered."""
    bad_checksum: int
    """Packets to be written that were left alone because their checksum is wrong."""
    read_malformed: int
    """Dropped: what was read is no IP packet."""
    read_bad_offload: int
    """Dropped: what was read has a vnet header that does not fit it."""
    read_oversize: int
    """Dropped: what was read is too large for a frame."""
    write_malformed: int
    """Dropped: a frame that holds no IP packet."""
    write_refused: int
    """Dropped: packets that the kernel finds invalid."""
    write_interface_down: int
    """Dropped: packets written while the interface was down."""
    write_no_memory: int
    """Dropped: packets for which the kernel had no memory."""


_WRITE_DROPS = {
    errno.EINVAL: "write_refused",
    errno.EIO: "write_interface_down",
    errno.ENOMEM: "write_no_memory",
    errno.ENOBUFS: "write_no_memory",
}


class TunDevice:
    """An open TUN. One task may read and another may write; close it by `close` or ``with``.

    ``name`` is what the kernel calls the interface, ``mtu`` its MTU in bytes. ``offload`` tells
    whether super-packets pass, ``udp_offload`` whether UDP makes any.
    """

    def __init__(
        self,
        tun: pytun.TunTapDevice,
        mtu: int,
        *,
        offload: bool,
        udp_offload: bool,
        mss_clamp: bool,
    ) -> None:
        self.name: str = tun.name
        self.mtu = mtu
        self.offload = offload
        self.udp_offload = udp_offload
        self._tun = tun
        self._mss_clamp = mss_clamp
        self._fd: int = tun.fileno()
        self._closed = False
        self._splitter = Splitter(mtu, mss_clamp)
        self._coalescer = Coalescer(mtu, offload, udp_offload, mss_clamp)
        # Without offload there is no vnet header on the way in or out: the place of it in the
        # splitter's buffer stays zero, and writing begins behind it.
        self._skip = 0 if offload else VNET_HEADER
        self._unit = memoryview(self._coalescer.unit)
        self._read_into = [memoryview(self._splitter.packet)[self._skip :]]
        self._writing = False
        # Units of the last batch to be written: the next one, and how many there are.
        self._next_unit = 0
        self._units = 0
        self._packets_read = 0
        self._bytes_read = 0
        self._packets_written = 0
        self._bytes_written = 0
        self._write_drops = dict.fromkeys(_WRITE_DROPS.values(), 0)

    @classmethod
    def open(
        cls, name: str | None, mtu: int, *, offload: bool = True, mss_clamp: bool = True
    ) -> TunDevice:
        """Make the interface ``name`` (None: one that the kernel names) with an MTU in bytes.

        It has no address yet and is down. ``offload=False`` does without super-packets, as
        happens by itself where the kernel knows none. ``mss_clamp`` lowers the MSS of TCP SYNs
        that pass, in either direction, to what the MTU holds. Raises HostError, in one line,
        when there is no TUN to be had.
        """
        flags = pytun.IFF_TUN | pytun.IFF_NO_PI
        if offload:
            tun = _open(name, flags | pytun.IFF_VNET_HDR, may_lack_flag=True)
            offloads = _enable_offloads(tun.fileno()) if tun else 0
            if tun and offloads:
                return cls._configured(tun, mtu, offloads, mss_clamp)
            if tun:
                tun.close()
        return cls._configured(_open(name, flags), mtu, 0, mss_clamp)

    @classmethod
    def _configured(
        cls, tun: pytun.TunTapDevice, mtu: int, offloads: int, mss_clamp: bool
    ) -> TunDevice:
        try:
            tun.mtu = mtu
        except OSError as error:
            tun.close()
            raise HostError(
                f"cannot set the MTU of {tun.name} to {mtu}: {_reason(error)}",
                advice="correct `mtu`, or leave it out",
            ) from error
        os.set_blocking(tun.fileno(), False)
        return cls(
            tun,
            mtu,
            offload=offloads != 0,
            udp_offload=bool(offloads & _UDP_OFFLOADS),
            mss_clamp=mss_clamp,
        )

    def keep_super_packets(self, keep: bool) -> None:
        """Let `read_batch` from now on leave super-packets whole, or (as at first) cut them."""
        self._splitter.keep_whole = keep

    def clamp_mss(self, largest_packet: int | None) -> None:
        """Lower the MSS of TCP SYNs to what fits such packets, if it was to be lowered at all.

        None, as at first, means to what the MTU holds.
        """
        mtu = self.mtu if largest_packet is None else min(largest_packet, self.mtu)
        if self._mss_clamp:
            self._splitter.clamp_to(mtu)
            self._coalescer.clamp_to(mtu)

    @of_python
    async def read_batch(self, command: int) -> FrameBatch:
        """Wait for packets from the host and return all that are there, as frames.

        Super-packets are cut unless `keep_super_packets` was asked for.

        Takes more until there are none, or `READ_BUDGET` or `READ_PACKETS` is reached. Never
        returns an empty batch. A cancelled call has lost no packet. Raises HostError if the
        interface was deleted, trio.ClosedResourceError if the device was closed.
        """
        splitter = self._splitter
        while True:
            # Before reading, even if there is something: others get their turn, and cancellation
            # loses nothing. Asking the kernel first would only add a call that finds nothing.
            if self._closed:
                raise trio.ClosedResourceError
            await trio.lowlevel.wait_readable(self._fd)
            self._drain(command)
            if splitter.frames:
                return self._take()

    @of_python
    async def while_readable(self, handler: Handler) -> None:
        """Call ``handler`` whenever there is something to read, until it returns False.

        Raises trio.ClosedResourceError if the device was closed.
        """
        if self._closed:
            raise trio.ClosedResourceError
        await eager.while_readable(self._fd, handler)

    def read_batch_nowait(self, command: int) -> FrameBatch | None:
        """Return the packets that are there, as `read_batch` does; None if there are none."""
        self._drain(command)
        return self._take() if self._splitter.frames else None

    def _take(self) -> FrameBatch:
        splitter = self._splitter
        packets = splitter.packets
        headers = 8 * splitter.frames
        sequences = SEQUENCES_OFFLOAD if splitter.kept_whole else SEQUENCES_ZERO
        data = splitter.take()
        self._packets_read += packets
        self._bytes_read += len(data) - headers
        return FrameBatch(data, packets, sequences)

    def _drain(self, command: int) -> None:
        splitter = self._splitter
        read_into = self._read_into
        for _ in range(READ_PACKETS):
            if splitter.end >= READ_BUDGET:
                return
            if self._closed:
                raise trio.ClosedResourceError
            try:
                length = os.readv(self._fd, read_into)
            except BlockingIOError:
                return
            except OSError as error:
                raise _broken("read from", self.name, error) from error
            splitter.split(length + self._skip, command)

    @of_python
    async def write_batch(self, data: bytes | bytearray | memoryview) -> None:
        """Hand the packets in whole frames, of any command, to the host.

        Bad ones are dropped and counted, as are those the kernel refuses. ``data`` (bytes are
        quickest) must not change meanwhile. Cancellation may come between packets. Raises
        HostError if the interface was deleted, trio.ClosedResourceError if the device was
        closed, trio.BusyResourceError if another task is writing.
        """
        if self._writing:
            raise trio.BusyResourceError("another task is writing to this TUN")
        self._writing = True
        try:
            # The wait for the next batch is where others get their turn.
            await trio.lowlevel.checkpoint_if_cancelled()
            await self._write_rest()
            self._next_unit = 0
            self._units = self._coalescer.coalesce_batch_untrusted(data)
            await self._write_rest()
        finally:
            self._writing = False

    @of_python
    async def _write_rest(self) -> None:
        # A device that could take more is writable at once: that is where others get their turn.
        while not self._write_units(WRITE_TURN):
            await trio.lowlevel.wait_writable(self._fd)

    def write_batch_nowait(self, data: bytes | bytearray | memoryview) -> bool:
        """Hand packets to the host, as `write_batch` does, without waiting.

        False if the kernel does not take all of them now: then the next call must be
        `write_batch` (of nothing, if there is no more), which begins with the rest; ``data``
        must not change before. Raises as `write_batch` does.
        """
        if self._writing or self._next_unit < self._units:
            raise trio.BusyResourceError("something is being written to this TUN")
        self._next_unit = 0
        self._units = self._coalescer.coalesce_batch_untrusted(data)
        return self._write_units(len(data))

    def _write_units(self, most: int) -> bool:
        """Write what is left of the last batch, up to about ``most`` bytes.

        False if that, or what the kernel takes for now, was not all.
        """
        coalescer = self._coalescer
        written = 0
        while self._next_unit < self._units and written <= most:
            length = coalescer.assemble(self._next_unit)
            packets = coalescer.packets_in(self._next_unit)
            if not self._write(self._unit[self._skip : length], packets):
                return False
            self._next_unit += 1
            written += length
        return self._next_unit == self._units

    def _write(self, unit: memoryview, packets: int) -> bool:
        """Write one unit; tell whether it is done with, be it written or dropped."""
        if self._closed:
            raise trio.ClosedResourceError
        try:
            written = os.write(self._fd, unit)
        except BlockingIOError:
            return False
        except OSError as error:
            drop = _WRITE_DROPS.get(error.errno or 0)
            if drop is None:
                raise _broken("write to", self.name, error) from error
            self._write_drops[drop] += packets
            return True
        self._packets_written += packets
        self._bytes_written += written - VNET_HEADER + self._skip
        return True

    def close(self) -> None:
        """Delete the interface; tasks that wait for it get trio.ClosedResourceError."""
        if self._closed:
            return
        self._closed = True
        # Outside a Trio run nobody can be waiting.
        if trio.lowlevel.in_trio_run():
            eager.notify_closing(self._fd)
        self._tun.close()

    def __enter__(self) -> TunDevice:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def statistics(self) -> TunStatistics:
        splitter = self._splitter
        coalescer = self._coalescer
        return TunStatistics(
            packets_read=self._packets_read,
            bytes_read=self._bytes_read,
            super_packets_read=splitter.super_packets,
            packets_written=self._packets_written,
            bytes_written=self._bytes_written,
            super_packets_written=coalescer.super_packets,
            clamped=splitter.clamped + coalescer.clamped,
            bad_checksum=coalescer.bad_checksum,
            read_malformed=splitter.malformed,
            read_bad_offload=splitter.bad_offload,
            read_oversize=splitter.oversize,
            write_malformed=coalescer.malformed,
            **self._write_drops,
        )


def _open(
    name: str | None, flags: int, *, may_lack_flag: bool = False
) -> pytun.TunTapDevice | None:
    """Make a TUN; None if ``may_lack_flag`` and the kernel does not know all flags."""
    try:
        return pytun.TunTapDevice(name=name or "", flags=flags)
    except OSError as error:
        if may_lack_flag and error.errno == errno.EINVAL:
            return None
        wanted = f"the TUN device {name}" if name else "a TUN device"
        reason = _OPEN_FAULTS.get(error.errno or 0) or _reason(error)
        raise HostError(
            f"cannot open {wanted}: {reason}", advice="`doctor` tells what a TUN device takes here"
        ) from error


def _broken(action: str, name: str, error: OSError) -> HostError:
    return HostError(
        f"cannot {action} {name}: {_reason(error)}",
        advice="see whether somebody has removed the device; a new start makes another one",
    )


_OPEN_FAULTS = {
    errno.ENOENT: "/dev/net/tun is missing; load the tun module, or give the container the device",
    errno.ENODEV: "/dev/net/tun has no driver; load the tun module",
    errno.EACCES: "not permitted to open /dev/net/tun; run as root or with CAP_NET_ADMIN",
    errno.EPERM: "not permitted; run as root or with CAP_NET_ADMIN",
    errno.EBUSY: "an interface of that name is in use",
    errno.EINVAL: "the kernel does not take that name",
}


def _enable_offloads(fd: int) -> int:
    """Turn on as many offloads as the kernel has; return their flags, 0 if it has none."""
    try:
        # The vnet header in one byte order on all machines.
        fcntl.ioctl(fd, _TUNSETVNETLE, array.array("i", [1]))
    except OSError:
        return 0
    for offloads in (_TCP_OFFLOADS | _UDP_OFFLOADS, _TCP_OFFLOADS):
        try:
            fcntl.ioctl(fd, _TUNSETOFFLOAD, offloads)
        except OSError:
            continue
        return offloads
    return 0


def _reason(error: OSError) -> str:
    if error.errno == errno.EBADFD:
        return "the interface was deleted"
    return error.strerror or str(error)
