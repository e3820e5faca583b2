# cython: annotation_typing=False
"""What kind of flow an IP packet belongs to: its bucket, its order, how long it is of use.

* A TCP segment with data is kept in order within its *bucket*, a hash of addresses and ports,
  and stays useful until the inner TCP would give it up.
* A TCP acknowledgement without data overtakes: each one says all that its predecessors said,
  so one that waits for a lost neighbour only makes the inner sender bunch its packets.
* UDP, ICMP and all else are handed on as they come. Voice (DSCP EF or VOICE-ADMIT, RFC 5865)
  is useless when late; of the others nobody knows, so they are tried for about as long as a
  resolver or a ping would wait.

``important`` marks what is worth protecting even when there is little room to: the packets
whose loss a person would notice (beginnings and ends of connections, DNS, TLS hellos, lone
acknowledgements, small packets).
"""

from __future__ import annotations

REALTIME = 0
EXCHANGE = 1
STREAM = 2

DEADLINES = (0.150, 1.0, 4.0)
"""Seconds from entering the conversation that a packet of each class is tried for."""

SMALL_PACKET = 256
"""Bytes up to which an IP packet counts as interactive."""

_REALTIME = REALTIME
_EXCHANGE = EXCHANGE
_STREAM = STREAM
_SMALL = SMALL_PACKET
_TCP = 6
_UDP = 17
_SYN_FIN_RST = 0x07
_DNS = 53
_TLS_HANDSHAKE = 22
_EXPEDITED = 46
_VOICE_ADMIT = 44
_MASK32 = 0xFFFFFFFF
_FNV_PRIME = 16777619
_FNV_BASIS = 2166136261


class FlowClassifier:
    """Looks at one packet after the other; the attributes tell of the last.

    ``bucket`` is 0 to 127, meaningful if ``ordered``; ``deadline_class`` is one of the
    constants above.
    """

    def __init__(self) -> None:
        self.bucket = 0
        self.ordered = False
        self.important = False
        self.deadline_class = EXCHANGE

    def classify(self, view: bytes | bytearray | memoryview, at: int, length: int) -> None:
        """Look at the packet of ``length`` bytes at ``at``, which ``is_well_formed``.

        ``length`` is what its own header says.
        """
        self.ordered = False
        self.important = length <= _SMALL
        self.deadline_class = _EXCHANGE
        fragment = False
        if view[at] >> 4 == 4:
            protocol = view[at + 9]
            header = (view[at] & 0x0F) * 4
            dscp = view[at + 1] >> 2
            fragment = bool((view[at + 6] & 0x3F) | view[at + 7])
            addresses = at + 12
            size = 8
        else:
            protocol = view[at + 6]
            header = 40
            dscp = ((view[at] & 0x0F) << 4 | view[at + 1] >> 4) >> 2
            addresses = at + 8
            size = 32
        if dscp in (_EXPEDITED, _VOICE_ADMIT):
            self.deadline_class = _REALTIME
        ports = at + header
        if fragment or length < header + 8:
            return
        if protocol == _UDP:
            if view[ports + 1] == _DNS and view[ports] == 0:
                self.important = True
            if view[ports + 3] == _DNS and view[ports + 2] == 0:
                self.important = True
            return
        if protocol != _TCP or length < header + 20:
            return
        flags = view[ports + 13]
        payload = header + (view[ports + 12] >> 4) * 4
        self.deadline_class = _STREAM
        if flags & _SYN_FIN_RST:
            self.important = True
        elif payload >= length:
            self.important = True
            return
        elif (
            payload + 5 < length
            and view[at + payload] == _TLS_HANDSHAKE
            and view[at + payload + 1] == 3
        ):
            self.important = True
        value = _FNV_BASIS
        index = addresses
        while index < addresses + size:
            value = ((value ^ view[index]) * _FNV_PRIME) & _MASK32
            index += 1
        index = ports
        while index < ports + 4:
            value = ((value ^ view[index]) * _FNV_PRIME) & _MASK32
            index += 1
        self.ordered = True
        self.bucket = (value ^ value >> 7 ^ value >> 14 ^ value >> 21) & 0x7F
