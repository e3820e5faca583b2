"""ClientHellos have receive buffers of their own on a UDP port: the kernel sorts what comes.

Sockets that share a port (SO_REUSEPORT, socket(7)) get each datagram from a small program of the
kernel's classic BPF: those for ClientHellos may be full of what strangers send, while no record of
a peer waits behind it or is lost. There are two of them, because of those who bring a cookie a
router waits for some, and of those who have none yet it can miss many.
"""

from __future__ import annotations

import socket
import struct
from array import array

_SO_ATTACH_REUSEPORT_CBPF = 51

MAIN, WITHOUT_COOKIE, WITH_COOKIE = range(3)
"""Where a datagram goes: the number of the socket, in the order in which they were bound."""

HELLO_SOCKETS = 2

HELLO_BUFFER_BYTES = 512 * 1024
"""Of each, as asked of the kernel, which takes twice that and counts its own needs: some 1,000 of
ours from a veth device. Where a router answers 10,000 a second, nobody waits longer than 0.1 s."""

# Offsets in a ClientHello that is alone in its record: see hello_cookies.py.
_TYPE_AT, _EPOCH_AT, _MESSAGE_AT, _SESSION_AT, _COOKIE_AT = 0, 3, 13, 59, 60
_HANDSHAKE, _CLIENT_HELLO = 22, 1

# linux/bpf_common.h: load a byte or a half word of the packet, jump if equal, return a constant.
_LOAD_BYTE, _LOAD_HALF, _JUMP_IF_EQUAL, _RETURN = 0x30, 0x28, 0x15, 0x06

# (operation, instructions to skip if equal, if not, operand). To read beyond the end of a datagram
# returns 0, which is `MAIN`. Who would resume a session, as no gateway does, counts as one without.
_PROGRAM = (
    (_LOAD_BYTE, 0, 0, _TYPE_AT),
    (_JUMP_IF_EQUAL, 0, 8, _HANDSHAKE),
    (_LOAD_HALF, 0, 0, _EPOCH_AT),
    (_JUMP_IF_EQUAL, 0, 6, 0),
    (_LOAD_BYTE, 0, 0, _MESSAGE_AT),
    (_JUMP_IF_EQUAL, 0, 4, _CLIENT_HELLO),
    (_LOAD_BYTE, 0, 0, _SESSION_AT),
    (_JUMP_IF_EQUAL, 0, 3, 0),
    (_LOAD_BYTE, 0, 0, _COOKIE_AT),
    (_JUMP_IF_EQUAL, 1, 2, 0),
    (_RETURN, 0, 0, MAIN),
    (_RETURN, 0, 0, WITHOUT_COOKIE),
    (_RETURN, 0, 0, WITH_COOKIE),
)


def sort_hellos(sock: socket.socket) -> None:
    """Sort what comes to the port of ``sock``, which shares it with `HELLO_SOCKETS` more.

    Raises OSError where the kernel does not take the program.
    """
    # struct sock_filter and sock_fprog of linux/filter.h, as this machine lays them out.
    program = array("B", b"".join(struct.pack("=HBBI", *each) for each in _PROGRAM))
    address, _ = program.buffer_info()
    sock.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, struct.pack("@HP", len(_PROGRAM), address)
    )
