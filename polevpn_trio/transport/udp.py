"""A UDP socket that takes and gives datagrams in batches (Linux UDP GSO and GRO).

With ``UDP_SEGMENT`` one sendmsg carries up to 64 datagrams of one size (the last may be
shorter), with ``UDP_GRO`` one recvmsg returns as many of one sender: both save the walk
through the kernel's network stack that is most of the price of a datagram. Where the kernel
has neither, the same calls work, a datagram at a time. See udp(7).
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import select
import socket
import sys
from array import array
from collections.abc import Sequence
from typing import Any, Protocol

import attrs
import trio

from polevpn_trio.control import advice
from polevpn_trio.coroutines import of_python
from polevpn_trio.errors import HostError, LinkLost
from polevpn_trio.transport import eager
from polevpn_trio.transport.eager import Handler
from polevpn_trio.transport.hello_sorting import HELLO_BUFFER_BYTES, HELLO_SOCKETS, sort_hellos
from polevpn_trio.transport.size_runs import run_of_equal

Address = tuple[Any, ...]
"""A socket address as the kernel gives it: (host, port), and two more numbers for IPv6."""

# linux/udp.h and linux/in.h, in6.h; Python's socket module names none of them.
_UDP_SEGMENT = 103
_UDP_GRO = 104
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DONT = 0
_IP_MTU = 14
_IPV6_MTU_DISCOVER = 23
_IPV6_MTU = 24

MAX_SEGMENTS = 64
"""Datagrams in one segmented send; older kernels take no more (UDP_MAX_SEGMENTS)."""
MAX_SEND_BYTES = 65_000
"""Bytes in one segmented send; the IP packet with its headers must stay below 65,535."""
MAX_RECEIVE_BYTES = 65_535
SOCKET_BUFFER_BYTES = 16 * 1024 * 1024
"""Asked of the kernel for each direction: 100 ms at 1 Gbit/s, for when this process waits
for its CPU."""
FALLBACK_MTU = 1280
"""Path MTU when the kernel has no route to ask about: IPv6 guarantees this much."""
MAX_REMEMBERED_REFUSALS = 1024
"""Peers for which the kernel refused a segmented send; forgetting one costs one more try."""

MAX_ERRORS_PER_RECEIVE = 16
"""Errors skipped in one receive, so that a stream of them does not hold up other tasks."""

_GRO_SPACE = socket.CMSG_SPACE(4)


@attrs.frozen
class UdpStatistics:
    """Counters of one socket. Datagrams and bytes are UDP payloads.

    ``send_errors`` counts datagrams the kernel refused (unreachable, filtered, too big), which
    are dropped; ``receive_errors`` counts ICMP errors reported by receiving; ``gso_refused``
    the segmented sends that had to be repeated one datagram at a time; ``full`` how often the
    socket's send buffer was full.
    """

    datagrams_sent: int
    bytes_sent: int
    batches_sent: int
    datagrams_received: int
    bytes_received: int
    batches_received: int
    send_errors: int
    receive_errors: int
    gso_refused: int
    full: int


class BatchSocket(Protocol):
    """What the DTLS layer needs of a socket; `UdpSocket` without the constructors."""

    family: int
    peer: Address | None
    last_error: OSError | None
    withheld: int

    @property
    def hello_sockets(self) -> Sequence[BatchSocket]: ...
    def receive_batch_nowait(self) -> tuple[bytes, int, Address]: ...
    def send_batch_nowait(
        self,
        datagrams: bytes | bytearray | memoryview,
        sizes: array[int],
        count: int,
        address: Address,
        first: int = 0,
    ) -> int: ...
    def is_readable(self) -> bool: ...
    async def while_readable(self, handler: Handler) -> None: ...
    async def wait_writable(self) -> None: ...
    def split_off(self, address: Address) -> BatchSocket | None: ...
    def close(self) -> None: ...
    def getsockname(self) -> Address: ...
    def path_mtu(self, address: Address) -> int: ...


_TOLD_LATE = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)
"""Errors that may be about an earlier datagram: the call that is told of them sends nothing."""


class UdpSocket:
    """A non-blocking UDP socket.

    ``peer`` is the address of a connected socket, else None. ``gso`` and ``gro`` tell whether
    segmented sends and receives are used. Use `bind` or `connect` to make one.
    """

    def __init__(
        self,
        sock: socket.socket,
        peer: Address | None = None,
        *,
        gso: bool = True,
        gro: bool = True,
        receive_buffer: int = SOCKET_BUFFER_BYTES,
    ) -> None:
        sock.setblocking(False)
        self.family: int = sock.family
        self.peer = peer
        self._socket = sock
        self._closed = False
        self._writable = trio.Lock()
        # Smallest datagram size for which a peer's route refused segmentation.
        self._refused: dict[Address, int] = {}
        self._datagrams_sent = 0
        self._bytes_sent = 0
        self._batches_sent = 0
        self._datagrams_received = 0
        self._bytes_received = 0
        self._batches_received = 0
        self._send_errors = 0
        self._receive_errors = 0
        self._gso_refused = 0
        self._full = 0
        self.last_error: OSError | None = None
        """The last error that the network reported: a hint for messages, no more."""
        self.withheld = 0
        """Batches that its reader takes fewer of at a time than it would, were they cheaper."""
        self.hello_sockets: tuple[UdpSocket, ...] = ()
        """Those that `split_hellos` has opened. They are closed with this one."""
        _size_buffer(sock, _SO_RCVBUFFORCE, socket.SO_RCVBUF, receive_buffer)
        _size_buffer(sock, _SO_SNDBUFFORCE, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        # Rather fragments than a black hole, should a path be narrower than what we send.
        _try_option(sock, socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        if sock.family == socket.AF_INET6:
            _try_option(sock, socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        self.gro = gro and _try_option(sock, socket.SOL_UDP, _UDP_GRO, 1)
        self.gso = gso and _try_option(sock, socket.SOL_UDP, _UDP_SEGMENT, 0)

    @classmethod
    def bind(cls, address: str, port: int, *, gso: bool = True, gro: bool = True) -> UdpSocket:
        """Listen on a numeric address; ``::`` and an empty one listen on IPv4 as well.

        Raises HostError if that is not possible: the port is in use, or not permitted.
        """
        if not address:
            address = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as error:
            raise _no_socket(error) from error
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "::")
            sock.bind((address, port))
        except OSError as error:
            sock.close()
            where = f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"
            remedy = advice.cannot_listen("udp", address, port, error).advice
            raise HostError(
                f"cannot listen on UDP {where}: {_reason(error)}", advice=remedy
            ) from error
        return cls(sock, gso=gso, gro=gro)

    @classmethod
    def connect(cls, address: Address, *, gso: bool = True, gro: bool = True) -> UdpSocket:
        """Open a socket on a new port for one peer, a numeric socket address.

        The kernel then drops what comes from anybody else. Raises LinkLost if there is no
        route, HostError if no socket is to be had.
        """
        family = socket.AF_INET6 if ":" in str(address[0]) else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as error:
            raise _no_socket(error) from error
        try:
            sock.connect(address)
            peer = sock.getpeername()
        except OSError as error:
            sock.close()
            raise LinkLost(f"cannot reach {address[0]}: {_reason(error)}") from error
        return cls(sock, peer, gso=gso, gro=gro)

    def split_off(self, address: Address) -> UdpSocket | None:
        """Open a socket on the same port that gets what ``address`` sends from now on.

        What that peer sends then no longer shares a receive buffer with what others send. None
        where that is not to be had. The new one may also get, for a moment, what others sent.
        """
        self._check_open()
        sock = None
        # Allowed by the sockets that share the port while we do it, and to nobody else after: who
        # starts a second router by mistake shall be told that the port is in use.
        sharing = (self._socket, *(each._socket for each in self.hello_sockets))
        try:
            for each in sharing:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock = self._open_beside(socket.SO_REUSEADDR)
            sock.connect(address)
        except OSError:
            if sock is not None:
                sock.close()
            return None
        finally:
            for each in sharing:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        return UdpSocket(sock, address, gso=self.gso, gro=self.gro)

    def split_hellos(self) -> None:
        """Have ClientHellos of DTLS come to `hello_sockets` from now on, and all else here.

        Where the kernel does not do that, nothing changes. Any of the sockets may get, for a
        moment, what is another's.
        """
        self._check_open()
        opened: list[socket.socket] = []
        try:
            # Who binds without that option, as a second router does, still finds the port in use.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            while len(opened) < HELLO_SOCKETS:
                opened.append(self._open_beside(socket.SO_REUSEPORT))
            sort_hellos(self._socket)
        except OSError:
            for sock in opened:
                sock.close()
            _try_option(self._socket, socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
            return
        self.hello_sockets = tuple(
            UdpSocket(sock, gso=False, gro=self.gro, receive_buffer=HELLO_BUFFER_BYTES)
            for sock in opened
        )

    def _open_beside(self, option: int) -> socket.socket:
        """Open a socket on the same port, which ``option`` of both allows. Raises OSError."""
        sock = socket.socket(self.family, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
            if self.family == socket.AF_INET6:
                only = self._socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            sock.bind(self._socket.getsockname())
        except OSError:
            sock.close()
            raise
        return sock

    # 1. Receive

    def is_readable(self) -> bool:
        """Tell whether there is something to receive. Raises trio.ClosedResourceError when closed.

        A pending error counts, and is taken by who receives.
        """
        self._check_open()
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    @of_python
    async def while_readable(self, handler: Handler) -> None:
        """Call ``handler`` whenever there is something to receive, until it returns False.

        One task at a time. Raises trio.ClosedResourceError when closed.
        """
        self._check_open()
        await eager.while_readable(self._socket.fileno(), handler)

    def receive_batch_nowait(self) -> tuple[bytes, int, Address]:
        """Return (data, segment size, sender's address).

        All datagrams in ``data`` are of the segment size but the last, which may be shorter.
        Raises BlockingIOError when there is nothing, trio.ClosedResourceError when closed.
        """
        if self._closed:
            raise trio.ClosedResourceError("the UDP socket was closed")
        for _ in range(MAX_ERRORS_PER_RECEIVE):
            try:
                data, ancillary, _, address = self._socket.recvmsg(MAX_RECEIVE_BYTES, _GRO_SPACE)
            except BlockingIOError:
                raise
            except OSError as error:
                # An ICMP answer to something sent before. Each is reported once; none of them
                # is proof of anything, since they can be forged.
                self._receive_errors += 1
                self.last_error = error
            else:
                break
        else:
            raise BlockingIOError(errno.EAGAIN, "only errors to receive")
        size = len(data)
        segment = size
        for level, kind, value in ancillary:
            if level == socket.SOL_UDP and kind == _UDP_GRO:
                segment = int.from_bytes(value[:4], sys.byteorder)
        if segment < 1:
            segment = size or 1
        self._batches_received += 1
        self._bytes_received += size
        self._datagrams_received += (size + segment - 1) // segment or 1
        return data, segment, address

    # 2. Send

    @of_python
    async def wait_writable(self) -> None:
        """Wait until the send buffer has room again. Any number of tasks may wait."""
        async with self._writable:
            self._check_open()
            await trio.lowlevel.wait_writable(self._socket)

    def send_batch_nowait(
        self,
        datagrams: bytes | bytearray | memoryview,
        sizes: array[int],
        count: int,
        address: Address,
        first: int = 0,
    ) -> int:
        """Send the datagrams ``first`` to ``count`` - 1, back to back in ``datagrams``.

        Returns how many were handed to the kernel, less than all if its buffer is full: go on
        from there after `wait_writable`. A datagram that the network or the kernel refuses
        counts as handed over: loss is what the layers above are made for. On a connected
        socket ``address`` is ignored. Raises trio.ClosedResourceError when closed.
        """
        self._check_open()
        view = memoryview(datagrams)
        offset = sum(sizes[:first]) if first else 0
        index = first
        told = False
        while index < count:
            run, size, total = self._next_run(sizes, index, count, address)
            chunk = view[offset : offset + total]
            try:
                if run == 1:
                    self._send(chunk, (), address)
                else:
                    control = size.to_bytes(2, sys.byteorder)
                    self._send(chunk, ((socket.SOL_UDP, _UDP_SEGMENT, control),), address)
            except BlockingIOError:
                self._full += 1
                break
            except OSError as error:
                if run > 1 and error.errno in (errno.EINVAL, errno.EIO, errno.EMSGSIZE):
                    self._remember_refusal(address, 1 if error.errno == errno.EIO else size)
                    continue
                self.last_error = error
                if error.errno in _TOLD_LATE and not told:
                    told = True
                    continue
                self._send_errors += run
            else:
                self._batches_sent += 1
                self._datagrams_sent += run
                self._bytes_sent += total
            index += run
            offset += total
        return index - first

    def _send(
        self, chunk: memoryview, control: tuple[tuple[int, int, bytes], ...], address: Address
    ) -> None:
        if control:
            # On a connected socket there must be no address.
            where = () if self.peer is not None else (0, address)
            self._socket.sendmsg((chunk,), control, *where)
        elif self.peer is None:
            self._socket.sendto(chunk, address)
        else:
            self._socket.send(chunk)

    def _next_run(
        self, sizes: array[int], index: int, count: int, address: Address
    ) -> tuple[int, int, int]:
        """Find what fits one segmented send: (datagrams, size of each, bytes in all)."""
        size = sizes[index]
        if (
            not self.gso
            or index + 1 == count
            or size == 0
            or (self._refused and size >= self._refused.get(address, size + 1))
        ):
            return 1, size, size
        limit = min(count - index, MAX_SEGMENTS, max(MAX_SEND_BYTES // size, 1))
        run = run_of_equal(sizes, index, limit)
        total = run * size
        # The last may be shorter.
        if run < limit and 0 < (last := sizes[index + run]) < size:
            total += last
            run += 1
        return run, size, total

    def _remember_refusal(self, address: Address, size: int) -> None:
        self._gso_refused += 1
        if len(self._refused) >= MAX_REMEMBERED_REFUSALS:
            del self._refused[next(iter(self._refused))]
        self._refused[address] = min(size, self._refused.get(address, size))

    # 3. The socket itself

    def getsockname(self) -> Address:
        """Return our own address."""
        name: Address = self._socket.getsockname()
        return name

    def path_mtu(self, address: Address) -> int:
        """Return the size in bytes of the largest IP packet for the path, as the kernel knows it.

        That is the MTU of the interface until an ICMP message told the kernel otherwise.
        """
        host = ipaddress.ip_address(str(address[0]).partition("%")[0])
        mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
        if mapped is not None:
            address = (str(mapped), address[1])
        if mapped is not None or isinstance(host, ipaddress.IPv4Address):
            family, level, option = socket.AF_INET, int(socket.IPPROTO_IP), _IP_MTU
        else:
            family, level, option = socket.AF_INET6, int(socket.IPPROTO_IPV6), _IPV6_MTU
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(address)
                return probe.getsockopt(level, option)
        except OSError:
            return FALLBACK_MTU

    def close(self) -> None:
        """Close the socket; tasks that wait on it get trio.ClosedResourceError."""
        if self._closed:
            return
        self._closed = True
        for each in self.hello_sockets:
            each.close()
        # Outside of Trio nobody can be waiting.
        with contextlib.suppress(RuntimeError):
            eager.notify_closing(self._socket.fileno())
        self._socket.close()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the UDP socket was closed")

    def statistics(self) -> UdpStatistics:
        """Return the counters."""
        return UdpStatistics(
            datagrams_sent=self._datagrams_sent,
            bytes_sent=self._bytes_sent,
            batches_sent=self._batches_sent,
            datagrams_received=self._datagrams_received,
            bytes_received=self._bytes_received,
            batches_received=self._batches_received,
            send_errors=self._send_errors,
            receive_errors=self._receive_errors,
            gso_refused=self._gso_refused,
            full=self._full,
        )


def _try_option(sock: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True


def _size_buffer(sock: socket.socket, forced: int, asked: int, size: int) -> None:
    """Have a socket buffer of ``size`` bytes, beyond the system's limit if we are permitted to."""
    if not _try_option(sock, socket.SOL_SOCKET, forced, size):
        _try_option(sock, socket.SOL_SOCKET, asked, size)


def _no_socket(error: OSError) -> HostError:
    return HostError(f"cannot open a UDP socket: {_reason(error)}", advice=advice.NO_SOCKET)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
