# cython: annotation_typing=False
"""What a policy sees of a packet: addresses, protocol, ports, and what may answer what.

Sources: RFC 791, 792 and 9293, RFC 8200 (IPv6 with its extension headers), RFC 4443 (ICMPv6).
Fragments that are made to hide a header are unreadable: those of RFC 1858, and first ones of
IPv6 without all their headers (RFC 7112).
"""

from __future__ import annotations

from polevpn_trio.frames.ip import is_well_formed

UNREADABLE = 0
"""A header is cut off, or hidden."""
WHOLE = 1
"""All headers are there: a packet, or the first fragment of one."""
LATER_FRAGMENT = 2
"""A fragment without ports."""
ERROR = 3
"""An ICMP error, about the packet that it quotes."""

FIN = 0x01
SYN = 0x02
RST = 0x04
ACK = 0x10

# Copies that the compiled build holds as C integers, which other modules cannot import.
_UNREADABLE = UNREADABLE
_WHOLE = WHOLE
_LATER_FRAGMENT = LATER_FRAGMENT
_ERROR = ERROR
_SYN = SYN
_ACK = ACK

_HOP_BY_HOP = 0
_ICMP = 1
_TCP = 6
_UDP = 17
_ROUTING = 43
_FRAGMENT = 44
_ICMPV6 = 58
_DESTINATION_OPTIONS = 60
_SCTP = 132

_MOST_EXTENSIONS = 8
"""IPv6 extension headers that are walked over; real packets have two at most."""

# Bits of the last word of a key, above the ports.
_PROTOCOL_SHIFT = 32
_IPV6 = 1 << 8
_FRAGMENTS = 1 << 9
_MESSAGE = 1 << 10

NO_PORT = -1
_NO_PORT = NO_PORT


class PacketHeaders:
    """The headers of one packet at a time.

    ``kind`` is one of the constants above. ``source_high`` and ``source_low`` are the 64-bit words
    of the source (``high`` is 0 for IPv4), as are those of the destination. ``port`` is that of
    the destination, ``back_port`` that of the source, `NO_PORT` where the protocol has none;
    ``flags`` those of TCP. ``opens`` tells that the packet can be no answer: a SYN without ACK, an
    echo request, an ICMP message that is neither asked for nor an error.

    ``key_0`` to ``key_4`` are the same for both directions of a flow, ``turned`` tells which one
    this is. ``begins_fragments`` says that others follow, which bear no ports; then, and of those
    others, ``identification`` is the number that they share.
    """

    def __init__(self) -> None:
        self.kind = _UNREADABLE
        self.version = 0
        self.protocol = 0
        self.source_high = 0
        self.source_low = 0
        self.destination_high = 0
        self.destination_low = 0
        self.port = _NO_PORT
        self.back_port = _NO_PORT
        self.flags = 0
        self.opens = False
        self.begins_fragments = False
        self.identification = 0
        self.key_0 = 0
        self.key_1 = 0
        self.key_2 = 0
        self.key_3 = 0
        self.key_4 = 0
        self.turned = False
        self._quoted = 0
        self._end = 0

    def read_untrusted(self, view: bytes | bytearray | memoryview, start: int, length: int) -> int:
        """Read the packet of ``length`` bytes at byte ``start``; return its kind."""
        version = is_well_formed(view, start, length)
        self.kind = _UNREADABLE
        if version == 4:
            self._read_ipv4(view, start, start + (view[start + 2] << 8 | view[start + 3]), False)
        elif version == 6:
            end = start + 40 + (view[start + 4] << 8 | view[start + 5])
            self._read_ipv6(view, start, end, False)
        return self.kind

    def read_quoted_untrusted(
        self, view: bytes | bytearray | memoryview, error: PacketHeaders
    ) -> int:
        """Read what the ``error`` that was read last quotes, which may be cut; return its kind."""
        start = error._quoted
        end = error._end
        self.kind = _UNREADABLE
        if end - start >= 20 and view[start] >> 4 == 4 and error.version == 4:
            self._read_ipv4(view, start, end, True)
        elif end - start >= 40 and view[start] >> 4 == 6 and error.version == 6:
            self._read_ipv6(view, start, end, True)
        return self.kind

    def _read_ipv4(
        self, view: bytes | bytearray | memoryview, start: int, end: int, quoted: bool
    ) -> None:
        self.version = 4
        self.source_high = 0
        self.source_low = _word(view, start + 12)
        self.destination_high = 0
        self.destination_low = _word(view, start + 16)
        self.identification = view[start + 4] << 8 | view[start + 5]
        offset = (view[start + 6] & 0x1F) << 8 | view[start + 7]
        protocol = view[start + 9]
        self.protocol = protocol
        at = start + (view[start] & 0x0F) * 4
        if offset != 0:
            self.begins_fragments = False
            # This one would write over the flags of TCP (RFC 1858, section 3).
            if offset != 1 or protocol != _TCP:
                self.kind = _LATER_FRAGMENT
            return
        self.begins_fragments = view[start + 6] & 0x20 != 0
        self._read_transport(view, at, end, quoted)

    def _read_ipv6(
        self, view: bytes | bytearray | memoryview, start: int, end: int, quoted: bool
    ) -> None:
        self.version = 6
        self.source_high = _word(view, start + 8) << 32 | _word(view, start + 12)
        self.source_low = _word(view, start + 16) << 32 | _word(view, start + 20)
        self.destination_high = _word(view, start + 24) << 32 | _word(view, start + 28)
        self.destination_low = _word(view, start + 32) << 32 | _word(view, start + 36)
        self.identification = 0
        self.begins_fragments = False
        protocol = view[start + 6]
        at = start + 40
        extensions = 0
        while protocol in (_HOP_BY_HOP, _ROUTING, _DESTINATION_OPTIONS, _FRAGMENT):
            if extensions == _MOST_EXTENSIONS or at + 8 > end:
                return
            if protocol == _FRAGMENT:
                fragment = view[at + 2] << 8 | view[at + 3]
                # One that is no part of anything is a packet like others (RFC 6946).
                if fragment & 0xFFF9:
                    self.identification = _word(view, at + 4)
                    if fragment >> 3:
                        self.protocol = view[at]
                        self.kind = _LATER_FRAGMENT
                        return
                    self.begins_fragments = True
                protocol = view[at]
                at += 8
            else:
                protocol = view[at]
                at += 8 * (view[at + 1] + 1)
            extensions += 1
        self.protocol = protocol
        self._read_transport(view, at, end, quoted)

    def _read_transport(
        self, view: bytes | bytearray | memoryview, at: int, end: int, quoted: bool
    ) -> None:
        protocol = self.protocol
        self.port = _NO_PORT
        self.back_port = _NO_PORT
        self.flags = 0
        self.opens = False
        extra = 0
        first = 0
        second = 0
        if protocol in (_TCP, _UDP, _SCTP):
            if at + 8 > end:
                return
            first = view[at] << 8 | view[at + 1]
            second = view[at + 2] << 8 | view[at + 3]
            self.back_port = first
            self.port = second
            if protocol == _TCP and not quoted:
                if at + 20 > end:
                    return
                self.flags = view[at + 13]
                self.opens = self.flags & (_SYN | _ACK) == _SYN
        elif protocol == (_ICMP if self.version == 4 else _ICMPV6):
            if at + 8 > end:
                return
            message = view[at]
            if _is_error(self.version, message):
                if not quoted and not self.begins_fragments:
                    self._quoted = at + 8
                    self._end = end
                    self.kind = _ERROR
                return
            if message == (8 if self.version == 4 else 128):
                self.opens = True
                first = second = view[at + 4] << 8 | view[at + 5]
            elif message == (0 if self.version == 4 else 129):
                first = second = view[at + 4] << 8 | view[at + 5]
            else:
                self.opens = True
                first = second = message << 8 | view[at + 1]
                extra = _MESSAGE
        self.kind = _WHOLE
        extra |= protocol | (0 if self.version == 4 else _IPV6)
        turned = self.source_high > self.destination_high
        if self.source_high == self.destination_high:
            turned = self.source_low > self.destination_low
            if self.source_low == self.destination_low:
                turned = first > second
        self.turned = turned
        if turned:
            self.key_0 = self.destination_high
            self.key_1 = self.destination_low
            self.key_2 = self.source_high
            self.key_3 = self.source_low
            self.key_4 = extra << _PROTOCOL_SHIFT | second << 16 | first
        else:
            self.key_0 = self.source_high
            self.key_1 = self.source_low
            self.key_2 = self.destination_high
            self.key_3 = self.destination_low
            self.key_4 = extra << _PROTOCOL_SHIFT | first << 16 | second

    def become_fragments(self) -> None:
        """Make the key that of the fragments of one packet, which have no ports."""
        self.key_0 = self.source_high
        self.key_1 = self.source_low
        self.key_2 = self.destination_high
        self.key_3 = self.destination_low
        # Those of IPv6 belong together whatever they say is in them (RFC 8200, section 4.5).
        extra = _IPV6 if self.version == 6 else self.protocol
        self.key_4 = (extra | _FRAGMENTS) << _PROTOCOL_SHIFT | self.identification
        self.turned = False


def _is_error(version: int, message: int) -> bool:
    """Whether an ICMP message quotes the packet that it is about."""
    if version == 4:
        return message in (3, 4, 5, 11, 12)
    return message < 128


def _word(view: bytes | bytearray | memoryview, at: int) -> int:
    high = view[at] << 8 | view[at + 1]
    return high << 16 | view[at + 2] << 8 | view[at + 3]
