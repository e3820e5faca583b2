# cython: annotation_typing=False
"""Super-packets: the kernel's cut into frames, and frames joined for the kernel.

A TUN opened with ``IFF_VNET_HDR`` passes each packet behind a header of ten bytes (VIRTIO 1.2,
section 5.1.6), little-endian once ``TUNSETVNETLE`` is set::

    0       1          2             4             6              8
    | flags | gso_type | hdr_len u16 | gso_size u16 | csum_start u16 | csum_offset u16 | packet

With it the kernel hands over up to 64 KiB of one TCP flow (or UDP socket) as a single packet,
its checksum left to do, and takes the same: one pass through the host's network stack serves
forty packets. `Splitter` does what a network card does on sending such a packet, `Coalescer`
what it does on receiving the pieces; both let super-packets pass whole between ends that agreed
to it (frames/segmentation.py).

A frame is ``len u16 | cmd u16 | seq u32`` in big-endian order and an IP packet; ``len`` counts
the frame's own header, ``seq`` is the segment size of a super-packet or 0.
"""

from __future__ import annotations

import array

from polevpn_trio.frames.ip import (
    clamp_mss,
    fold,
    is_well_formed,
    sum_pseudo_header,
    sum_words,
)
from polevpn_trio.frames.segmentation import (
    Segmenter,
    holds_super_packets,
    segments_in,
    sequence_of,
)

# Specification. Names with an underscore are C constants once compiled, hence the copy.
_VNET_HEADER = 10
_FRAME_HEADER = 8
_LARGEST_PACKET = 65535
_LARGEST_FRAME = 65535
VNET_HEADER = _VNET_HEADER

_NEEDS_CSUM = 1
_GSO_NONE = 0
_GSO_TCPV4 = 1
_GSO_TCPV6 = 4
_GSO_UDP_L4 = 5
# Says that the first segment bears CWR; the cutting is the same.
_GSO_ECN = 0x80

_TCP = 6
_UDP = 17
_TCP_CHECKSUM = 16
_UDP_CHECKSUM = 6
_PSH = 0x08
_ACK = 0x10
_CWR = 0x80
# Every flag but PSH and ECE, which a segment may bear and yet be joined to others.
_FLAGS_OF_LONERS = 0xB7

_MASK32 = 0xFFFFFFFF

# Tuning.
# Flows that can be joined at a time in one batch; a Linux GRO engine has 8 lists, too.
_BUCKETS = 8
# The kernel takes no more segments in one UDP super-packet (UDP_MAX_SEGMENTS of old kernels).
_UDP_SEGMENTS = 64
# The smallest frame that holds a well-formed packet: a lone IPv4 header.
_SMALLEST_FRAME = 28


class Splitter(Segmenter):
    """Makes frames of what was read from a TUN.

    Read into ``packet`` (a vnet header and a packet; a TUN without the former is read behind
    it and the header left zero), call `split` with the number of bytes, repeat; then `take`
    the frames. Each holds one packet of at most one segment, or, while ``keep_whole`` is set, a
    super-packet; ``kept_whole`` tells how many such wait to be taken. Checksums of single packets
    come out finished and the MSS of TCP SYNs at most ``mtu`` less the headers, unless ``clamp``
    is false.
    """

    def __init__(self, mtu: int, clamp: bool = True) -> None:
        super().__init__()
        self.packet = bytearray(_VNET_HEADER + _LARGEST_PACKET + 1)
        self._packet = memoryview(self.packet)
        self._mss4 = mtu - 40 if clamp else 0
        self._mss6 = mtu - 60 if clamp else 0
        self.keep_whole = False
        self.kept_whole = 0
        self.clamped = 0
        self.bad_offload = 0
        self.oversize = 0

    def clamp_to(self, mtu: int) -> None:
        """Lower the MSS of TCP SYNs from now on to what an MTU of ``mtu`` bytes holds."""
        self._mss4 = mtu - 40
        self._mss6 = mtu - 60

    def split(self, length: int, command: int) -> int:
        """Append the frames of the ``length`` bytes in ``packet``; return how many these are.

        0 if the packet was dropped: ``malformed`` (no IP packet), ``bad_offload`` (a vnet
        header that does not fit the packet) or ``oversize`` (too large for a frame) counts it.
        The contents of ``packet`` are used up.
        """
        packet = self._packet
        size = length - _VNET_HEADER
        version = is_well_formed(packet, _VNET_HEADER, size)
        if version == 0:
            self.malformed += 1
            return 0
        needs_checksum = packet[0] & _NEEDS_CSUM
        kind = packet[1] & (0xFF ^ _GSO_ECN)
        checksum_start = packet[6] | packet[7] << 8
        checksum_offset = packet[8] | packet[9] << 8
        if kind != _GSO_NONE:
            made = 0
            if needs_checksum and kind == (_GSO_TCPV4 if version == 4 else _GSO_TCPV6):
                if checksum_offset == _TCP_CHECKSUM:
                    made = self._take_run(size, version, _TCP, checksum_start, command)
            elif needs_checksum and kind == _GSO_UDP_L4 and checksum_offset == _UDP_CHECKSUM:
                made = self._take_run(size, version, _UDP, checksum_start, command)
            if made == 0:
                self.bad_offload += 1
            return made
        if _FRAME_HEADER + size > _LARGEST_FRAME:
            self.oversize += 1
            return 0
        if needs_checksum and not self._finish_checksum(
            size, 20 if version == 4 else 40, checksum_start, checksum_offset
        ):
            self.bad_offload += 1
            return 0
        if clamp_mss(packet, _VNET_HEADER, size, self._mss4, self._mss6):
            self.clamped += 1
        self._append_packet(packet, _VNET_HEADER, size, command, 0, 1)
        return 1

    def take(self) -> bytes | memoryview:
        """Return the frames appended since the last time, back to back, and forget them."""
        self.kept_whole = 0
        return Segmenter.take(self)

    def _finish_checksum(self, size: int, header: int, start: int, offset: int) -> bool:
        """Complete a checksum of which the kernel wrote only the pseudo-header's part.

        ``header`` is the least size of the IP header, which it can be no part of.
        """
        packet = self._packet
        if start < header or start + offset + 2 > size:
            return False
        start += _VNET_HEADER
        checksum = sum_words(packet, start, _VNET_HEADER + size) ^ 0xFFFF
        if checksum == 0 and offset == _UDP_CHECKSUM:
            # Zero would mean that there is none (RFC 768).
            checksum = 0xFFFF
        packet[start + offset] = checksum >> 8
        packet[start + offset + 1] = checksum & 0xFF
        return True

    def _take_run(
        self, size: int, version: int, protocol: int, transport: int, command: int
    ) -> int:
        """Append a TCP or UDP super-packet; return the number of frames, 0 if it is inconsistent.

        ``size`` is the packet's, ``transport`` where its TCP or UDP header begins, in bytes.
        """
        packet = self._packet
        ip = _VNET_HEADER
        segment_size = packet[4] | packet[5] << 8
        if version == 4:
            ip_header = (packet[ip] & 0x0F) * 4
            whole = (
                size == (packet[ip + 2] << 8 | packet[ip + 3])
                and transport == ip_header
                and protocol == packet[ip + 9]
            )
            plain = whole
        else:
            # Extension headers may come in between; each segment gets a copy of them.
            whole = size == 40 + (packet[ip + 4] << 8 | packet[ip + 5]) and transport >= 40
            plain = whole and transport == 40 and protocol == packet[ip + 6]
        if not whole or transport + (20 if protocol == _TCP else 8) > size:
            return 0
        # What the other end could not tell from the packet itself, or what fits no frame, is
        # rare enough to be cut here.
        if self.keep_whole and plain and _FRAME_HEADER + size <= _LARGEST_FRAME:
            segments = segments_in(packet, ip, size, segment_size)
            if segments != 0:
                self._append_packet(packet, ip, size, command, segment_size, segments)
                self.super_packets += 1
                self.kept_whole += 1
                return 1
        # The kernel left the pseudo-header's sum, with the length of the whole, in the checksum
        # field: it knows the final address even when a routing header hides it. Taking the
        # length out of it makes it serve every segment.
        field = ip + transport + (_TCP_CHECKSUM if protocol == _TCP else _UDP_CHECKSUM)
        pseudo = (packet[field] << 8 | packet[field + 1]) + ((size - transport) ^ 0xFFFF)
        return self._cut(
            packet, ip, size, version, protocol, transport, segment_size, pseudo, command
        )


class Coalescer:
    """Joins the packets of a batch of frames to what a TUN takes in as few writes as may be.

    Call `coalesce_batch_untrusted`, then `assemble` for each unit in turn: it leaves a vnet
    header and a packet in ``unit``. Consecutive segments of a TCP flow (of a UDP flow, if
    ``merge_udp``) become one super-packet under the rules of a GRO engine: nothing is joined
    that the kernel could not cut again into packets that mean the same. Units are in the order
    of their first packets, and packets of one flow never pass each other. The MSS of TCP SYNs
    is lowered to ``mtu`` less the headers, unless ``clamp`` is false.

    A frame with a super-packet makes a unit of its own. Those of TCP are cut first unless
    ``merge_tcp``, those of UDP unless ``merge_udp``: the TUN takes none.
    """

    def __init__(
        self, mtu: int, merge_tcp: bool = True, merge_udp: bool = False, clamp: bool = True
    ) -> None:
        self.unit = bytearray(_VNET_HEADER + _LARGEST_PACKET)
        self._unit = memoryview(self.unit)
        self._data = memoryview(b"")
        self._segmenter = None if merge_tcp and merge_udp else Segmenter()
        self._merge_tcp = merge_tcp
        self._merge_udp = merge_udp
        self._mss4 = mtu - 40 if clamp else 0
        self._mss6 = mtu - 60 if clamp else 0
        self._bucket_unit = array.array("I", bytes(4 * _BUCKETS))
        self._bucket_used = array.array("I", bytes(4 * _BUCKETS))
        self._bucket_tag = array.array("I", bytes(4 * _BUCKETS))
        self._bucket_turn = 0
        self._reserve(256)
        self._count = 0
        self._units = 0
        self.packets = 0
        self.super_packets = 0
        self.clamped = 0
        self.malformed = 0
        self.bad_checksum = 0

    def clamp_to(self, mtu: int) -> None:
        """Lower the MSS of TCP SYNs from now on to what an MTU of ``mtu`` bytes holds."""
        self._mss4 = mtu - 40
        self._mss6 = mtu - 60

    def _reserve(self, capacity: int) -> None:
        empty = bytes(4 * capacity)
        self._capacity = capacity
        self._start = array.array("I", empty)
        self._size = array.array("I", empty)
        self._next = array.array("I", empty)
        self._unit_first = array.array("I", empty)
        self._unit_last = array.array("I", empty)
        self._unit_count = array.array("I", empty)
        self._unit_header = array.array("I", empty)
        self._unit_total = array.array("I", empty)
        self._unit_verified = array.array("I", empty)
        self._unit_segment = array.array("I", empty)

    def coalesce_batch_untrusted(self, data: bytes | bytearray | memoryview) -> int:
        """Look through whole frames, of any command, and return how many units they make.

        ``data`` must not change until the last unit is assembled. What holds no well-formed IP
        packet, or no sound super-packet though ``seq`` says so, is dropped, and so is the rest
        behind a frame of impossible length; all are counted as ``malformed``. A packet with a
        wrong checksum is never joined to others: it counts as ``bad_checksum`` where it might
        have been, and is passed on for the kernel to judge.
        """
        if self._segmenter is not None and holds_super_packets(
            data, not self._merge_tcp, not self._merge_udp
        ):
            before = self._segmenter.malformed
            data = self._segmenter.segment_batch_untrusted(
                data, not self._merge_tcp, not self._merge_udp
            )
            self.malformed += self._segmenter.malformed - before
        total = len(data)
        if self._capacity <= total // _SMALLEST_FRAME:
            self._reserve(total // _SMALLEST_FRAME + 1)
        self._data = memoryview(data)
        self._count = 0
        self._units = 0
        for bucket in range(_BUCKETS):
            self._bucket_used[bucket] = 0
        view = self._data
        at = 0
        while at < total:
            length = view[at] << 8 | view[at + 1] if total - at >= _FRAME_HEADER else 0
            if length < _FRAME_HEADER or length > total - at:
                self.malformed += 1
                break
            start = at + _FRAME_HEADER
            size = length - _FRAME_HEADER
            segment_size = sequence_of(view, at)
            at += length
            version = is_well_formed(view, start, size)
            if segment_size != 0:
                segments = segments_in(view, start, size, segment_size)
                if segments == 0:
                    self.malformed += 1
                else:
                    self._place_whole(start, size, version, segment_size, segments)
            elif version == 0:
                self.malformed += 1
            elif self._merge_tcp or self._merge_udp:
                self._place(start, size, version)
            else:
                self._add_unit(start, size, 0)
        self.packets += self._count
        return self._units

    def packets_in(self, index: int) -> int:
        """Return how many packets the unit of that index is made of."""
        return self._unit_count[index]

    def _place(self, start: int, size: int, version: int) -> None:
        """Join a packet to its flow's unit, or begin a new unit with it."""
        data = self._data
        if version == 4:
            ip_header = 20
            addresses = start + 12
            protocol = data[start + 9]
            # No options, no fragment (DF may be set), nothing behind the packet.
            plain = (
                data[start] == 0x45
                and data[start + 6] & 0x3F == 0
                and data[start + 7] == 0
                and data[start + 2] << 8 | data[start + 3] == size
            )
        else:
            ip_header = 40
            addresses = start + 8
            protocol = data[start + 6]
            plain = 40 + (data[start + 4] << 8 | data[start + 5]) == size
        l4 = start + ip_header
        pushed = False
        if plain and protocol == _TCP and size >= ip_header + 20:
            header = ip_header + (data[l4 + 12] >> 4) * 4
            pushed = data[l4 + 13] & _PSH != 0
            mergeable = (
                self._merge_tcp
                and ip_header + 20 <= header < size
                and data[l4 + 13] & _FLAGS_OF_LONERS == _ACK
            )
        elif plain and protocol == _UDP and size >= ip_header + 8:
            header = ip_header + 8
            mergeable = (
                self._merge_udp
                and header < size
                and data[l4 + 4] << 8 | data[l4 + 5] == size - ip_header
                and data[l4 + 6] | data[l4 + 7] != 0
            )
        else:
            # It may belong to any flow between these two hosts, so all of them end here.
            self._close_flows(addresses, l4 if version == 6 else addresses + 8, version)
            self._add_unit(start, size, 0)
            return

        # Addresses and ports lie side by side. The tag spares most comparisons of them.
        tag = data[l4 - 2] ^ data[l4 - 6]
        tag = tag << 8 | data[l4 - 1] ^ data[l4 - 5]
        tag = tag << 8 | data[l4] ^ data[l4 + 2]
        tag = tag << 8 | data[l4 + 1] ^ data[l4 + 3]
        bucket = self._find_flow(tag, addresses, l4 + 4, version, protocol)
        if bucket >= 0:
            unit = self._bucket_unit[bucket]
            if mergeable and self._continues(unit, start, size, header, version, protocol):
                if not self._unit_verified[unit]:
                    first = self._unit_first[unit]
                    head = self._start[first]
                    if not self._checksums_hold(head, self._size[first], version, protocol):
                        self.bad_checksum += 1
                        self._bucket_used[bucket] = 0
                    self._unit_verified[unit] = 1
                if not self._checksums_hold(start, size, version, protocol):
                    self.bad_checksum += 1
                    mergeable = False
                elif self._bucket_used[bucket]:
                    if self._append(unit, start, size, header) or pushed:
                        self._bucket_used[bucket] = 0
                    return
            self._bucket_used[bucket] = 0
        unit = self._add_unit(start, size, header)
        if mergeable and not pushed:
            self._open_flow(unit, tag)

    def _place_whole(
        self, start: int, size: int, version: int, segment_size: int, segments: int
    ) -> None:
        """Make a unit of a super-packet, which no later packet of its flow may pass."""
        addresses = start + (12 if version == 4 else 8)
        self._close_flows(addresses, addresses + (8 if version == 4 else 32), version)
        unit = self._add_unit(start, size, 0)
        self._unit_segment[unit] = segment_size
        self._unit_count[unit] = segments
        self.packets += segments - 1

    def _add_packet(self, start: int, size: int) -> int:
        index = self._count
        self._start[index] = start
        self._size[index] = size
        self._count = index + 1
        return index

    def _add_unit(self, start: int, size: int, header: int) -> int:
        index = self._add_packet(start, size)
        unit = self._units
        self._unit_first[unit] = index
        self._unit_last[unit] = index
        self._unit_count[unit] = 1
        self._unit_header[unit] = header
        self._unit_total[unit] = size
        self._unit_verified[unit] = 0
        self._unit_segment[unit] = 0
        self._units = unit + 1
        return unit

    def _append(self, unit: int, start: int, size: int, header: int) -> bool:
        """Add a packet to a unit; tell if it must be the last because it is shorter."""
        index = self._add_packet(start, size)
        self._next[self._unit_last[unit]] = index
        self._unit_last[unit] = index
        self._unit_count[unit] += 1
        self._unit_total[unit] += size - header
        return size < self._size[self._unit_first[unit]]

    def _find_flow(self, tag: int, key: int, key_end: int, version: int, protocol: int) -> int:
        """Return the bucket of the flow whose addresses and ports are there, or -1."""
        data = self._data
        for bucket in range(_BUCKETS):
            if not self._bucket_used[bucket] or self._bucket_tag[bucket] != tag:
                continue
            head = self._start[self._unit_first[self._bucket_unit[bucket]]]
            if data[head] >> 4 != version:
                continue
            if data[head + (9 if version == 4 else 6)] != protocol:
                continue
            if self._same(head + (12 if version == 4 else 8), key, key_end):
                return bucket
        return -1

    def _close_flows(self, key: int, key_end: int, version: int) -> None:
        """End the units of all flows between the two addresses that lie there."""
        for bucket in range(_BUCKETS):
            if self._bucket_used[bucket]:
                head = self._start[self._unit_first[self._bucket_unit[bucket]]]
                if self._data[head] >> 4 == version and self._same(
                    head + (12 if version == 4 else 8), key, key_end
                ):
                    self._bucket_used[bucket] = 0

    def _open_flow(self, unit: int, tag: int) -> None:
        """Let later packets join the unit; the flow longest in the table yields if it is full."""
        chosen = self._bucket_turn
        for bucket in range(_BUCKETS):
            if not self._bucket_used[bucket]:
                chosen = bucket
                break
        else:
            self._bucket_turn = (chosen + 1) % _BUCKETS
        self._bucket_used[chosen] = 1
        self._bucket_unit[chosen] = unit
        self._bucket_tag[chosen] = tag

    def _same(self, other: int, key: int, key_end: int) -> bool:
        data = self._data
        for at in range(key, key_end):
            if data[at] != data[other]:
                return False
            other += 1
        return True

    def _continues(
        self, unit: int, start: int, size: int, header: int, version: int, protocol: int
    ) -> bool:
        """Tell if a packet of the unit's flow is the very next piece of it, by its headers."""
        data = self._data
        first = self._unit_first[unit]
        head = self._start[first]
        joined = self._unit_total[unit]
        count = self._unit_count[unit]
        if (
            header != self._unit_header[unit]
            or size > self._size[first]
            or joined + size - header > _LARGEST_PACKET
        ):
            return False
        if version == 4:
            # TOS, DF, TTL. The kernel will count up the identification; unless DF says that
            # nobody reads it (RFC 6864), it must have been so before.
            l4 = start + 20
            other = head + 20
            if (
                data[start + 1] != data[head + 1]
                or data[start + 6] != data[head + 6]
                or data[start + 8] != data[head + 8]
            ):
                return False
            expected = (data[head + 4] << 8 | data[head + 5]) + count
            if not data[head + 6] & 0x40 and (
                data[start + 4] << 8 | data[start + 5] != expected & 0xFFFF
            ):
                return False
        else:
            # Traffic class and flow label, hop limit.
            l4 = start + 40
            other = head + 40
            if not self._same(head, start, start + 4) or data[start + 7] != data[head + 7]:
                return False
        if protocol == _UDP:
            return count < _UDP_SEGMENTS
        # Acknowledgement and header length; flags but PSH; window; urgent pointer and options.
        if (
            not self._same(other + 8, l4 + 8, l4 + 13)
            or (data[l4 + 13] ^ data[other + 13]) & (0xFF ^ _PSH)
            or not self._same(other + 14, l4 + 14, l4 + 16)
            or not self._same(other + 18, l4 + 18, start + header)
        ):
            return False
        sequence = self._sequence(l4)
        return sequence == (self._sequence(other) + joined - header) & _MASK32

    def _sequence(self, tcp: int) -> int:
        data = self._data
        high = data[tcp + 4] << 8 | data[tcp + 5]
        return high << 16 | data[tcp + 6] << 8 | data[tcp + 7]

    def _checksums_hold(self, start: int, size: int, version: int, protocol: int) -> bool:
        data = self._data
        l4 = start + (20 if version == 4 else 40)
        if version == 4 and sum_words(data, start, l4) != 0xFFFF:
            return False
        pseudo = sum_pseudo_header(data, start, version, protocol, start + size - l4)
        return fold(pseudo + sum_words(data, l4, start + size)) == 0xFFFF

    def assemble(self, index: int) -> int:
        """Write the unit of that index to ``unit``; return its length, vnet header included.

        The contents of ``unit`` last until the next call.
        """
        unit = self._unit
        data = self._data
        first = self._unit_first[index]
        count = self._unit_count[index]
        start = self._start[first]
        size = self._size[first]
        for at in range(_VNET_HEADER):
            unit[at] = 0
        unit[_VNET_HEADER : _VNET_HEADER + size] = data[start : start + size]
        segment_size = self._unit_segment[index]
        if segment_size != 0:
            self._write_vnet_header(size, segment_size)
            return _VNET_HEADER + size
        if count == 1:
            if clamp_mss(unit, _VNET_HEADER, size, self._mss4, self._mss6):
                self.clamped += 1
            return _VNET_HEADER + size

        header = self._unit_header[index]
        end = _VNET_HEADER + size
        packet = first
        for _more in range(count - 1):
            packet = self._next[packet]
            source = self._start[packet] + header
            piece = self._size[packet] - header
            unit[end : end + piece] = data[source : source + piece]
            end += piece
        total = end - _VNET_HEADER
        ip = _VNET_HEADER
        if unit[ip] >> 4 == 4:
            ip_header = 20
            protocol = unit[ip + 9]
            self._put16(ip + 2, total)
            self._put16(ip + 10, 0)
            self._put16(ip + 10, sum_words(unit, ip, ip + 20) ^ 0xFFFF)
        else:
            ip_header = 40
            protocol = unit[ip + 6]
            self._put16(ip + 4, total - 40)
        if protocol == _TCP:
            last = self._start[self._unit_last[index]] + ip_header
            unit[ip + ip_header + 13] |= data[last + 13] & _PSH
        else:
            self._put16(ip + ip_header + 4, total - ip_header)
        self._write_vnet_header(total, size - header)
        return end

    def _write_vnet_header(self, size: int, segment_size: int) -> None:
        """Describe the super-packet of ``size`` bytes in ``unit``, and begin its checksum."""
        unit = self._unit
        ip = _VNET_HEADER
        version = unit[ip] >> 4
        if version == 4:
            ip_header = (unit[ip] & 0x0F) * 4
            protocol = unit[ip + 9]
        else:
            ip_header = 40
            protocol = unit[ip + 6]
        l4 = ip + ip_header
        if protocol == _TCP:
            kind = _GSO_TCPV4 if version == 4 else _GSO_TCPV6
            if unit[l4 + 13] & _CWR:
                kind |= _GSO_ECN
            header = ip_header + (unit[l4 + 12] >> 4) * 4
            offset = _TCP_CHECKSUM
        else:
            kind = _GSO_UDP_L4
            header = ip_header + 8
            offset = _UDP_CHECKSUM
        # Not complemented: the kernel adds the rest when it cuts, or never if it need not.
        self._put16(l4 + offset, sum_pseudo_header(unit, ip, version, protocol, size - ip_header))
        unit[0] = _NEEDS_CSUM
        unit[1] = kind
        unit[2] = header & 0xFF
        unit[3] = header >> 8
        unit[4] = segment_size & 0xFF
        unit[5] = segment_size >> 8
        unit[6] = ip_header
        unit[8] = offset
        self.super_packets += 1

    def _put16(self, at: int, value: int) -> None:
        self._unit[at] = value >> 8
        self._unit[at + 1] = value & 0xFF
