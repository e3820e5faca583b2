cimport cython

from polevpn_trio.kcp.byte_queue cimport ByteQueue
from polevpn_trio.kcp.congestion.base cimport AckEvent, CongestionControl
from polevpn_trio.kcp.datagram.pacer cimport Pacer
from polevpn_trio.kcp.receive_window cimport ReceiveWindow
from polevpn_trio.kcp.round_trip cimport RoundTrip
from polevpn_trio.kcp.segment cimport SegmentHeader
from polevpn_trio.kcp.send_window cimport SendWindow
from polevpn_trio.kcp.tail cimport Tail
from polevpn_trio.kcp.window_probe cimport WindowProbe
from polevpn_trio.stream_buffer cimport StreamBuffer

cdef int _HEADER
cdef int _PUSH
cdef int _ACK
cdef int _WASK
cdef int _WINS
cdef int _IN_ORDER
cdef int _EARLY
cdef int _DUPLICATE
cdef int _OUTSIDE
cdef int _BATCH
cdef Py_ssize_t _SMALLEST_WINDOW
cdef double _IDLE_SHRINK
cdef Py_ssize_t _ACK_EVERY
cdef Py_ssize_t _SHORT_TAIL
cdef long long _MASK32
cdef long long _HALF
cdef double _NEVER
cdef int _MOST_TIMEOUTS


@cython.final
cdef class Conversation:
    cdef readonly unsigned int conversation_id
    cdef readonly object datagrams
    cdef readonly object sizes
    cdef Py_ssize_t _mtu
    cdef Py_ssize_t _room
    cdef unsigned char[::1] _output
    cdef unsigned short[::1] _output_sizes
    cdef Py_ssize_t _output_at
    cdef Py_ssize_t _output_start
    cdef int _output_count

    cdef ByteQueue _queue
    cdef SendWindow _window
    cdef readonly CongestionControl congestion
    cdef public bint more
    cdef Pacer _pacer
    cdef double _burst_at
    cdef AckEvent _event
    cdef Py_ssize_t _overhead
    cdef bint _backlog
    cdef ReceiveWindow _arrived
    cdef readonly StreamBuffer stream
    cdef RoundTrip _round_trip
    cdef SegmentHeader _header
    cdef double _now
    cdef double _interval
    cdef double _ack_delay
    cdef double _acks_due_at
    cdef int _fast_resend
    cdef long long _dead_link

    cdef long long _cut
    cdef long long _send_window
    cdef long long _ramp
    cdef long long _peer_window
    cdef double _early_at
    cdef WindowProbe _probe
    cdef Tail _tail
    cdef bint _tell_window
    cdef int _acks_done
    cdef double _large_at

    cdef long long _datagrams_sent
    cdef long long _segments_sent
    cdef long long _resent_timeout
    cdef long long _resent_fast
    cdef long long _resent_early
    cdef long long _acks_sent
    cdef long long _datagrams_received
    cdef long long _segments_received
    cdef long long _bytes_received
    cdef long long _acks_received
    cdef long long _early_received
    cdef long long _duplicates
    cdef long long _out_of_window
    cdef long long _bad_conversation
    cdef long long _bad_command
    cdef long long _bad_length
    cdef long long _bad_acknowledgement

    cpdef set_mtu(self, Py_ssize_t mtu)

    @cython.locals(room="long long", credit=double, unsent="long long")
    cpdef long long room(self, double now) noexcept

    cpdef double next_room(self) noexcept

    @cython.locals(pacer=Pacer)
    cdef bint _may_leave(self, double now) noexcept

    @cython.locals(window=SendWindow)
    cdef bint _window_open(self) noexcept

    @cython.locals(size="long long")
    cdef bint _has_segment(self) noexcept

    cpdef widen_receive_window(self, int segments)

    cpdef send(self, data)

    cpdef void ask(self, double now) noexcept

    @cython.locals(
        view="const unsigned char[::1]", lengths="const unsigned short[::1]",
        milliseconds="long long", available=Py_ssize_t, at=Py_ssize_t, end=Py_ssize_t,
        index=Py_ssize_t,
    )
    cpdef receive_datagrams_untrusted(self, datagrams, sizes, Py_ssize_t count, double now)

    @cython.locals(
        header=SegmentHeader, window=SendWindow, acknowledged="long long",
        peer_window="long long", echo="long long", advance="long long", command=int,
        forward="long long", elapsed="long long",
    )
    cdef _receive_datagram(
        self,
        source,
        const unsigned char[::1] view,
        Py_ssize_t at,
        Py_ssize_t end,
        long long milliseconds,
    )

    @cython.locals(arrived=ReceiveWindow, header=SegmentHeader, fate=int)
    cdef _receive_push(
        self, source, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t size
    )

    @cython.locals(arrived=ReceiveWindow, new=Py_ssize_t)
    cpdef Py_ssize_t fetch(self) except -1

    cpdef bytes receive(self)

    @cython.locals(earliest=double)
    cpdef double next_timeout(self) noexcept

    cdef bint _has_news(self) noexcept

    @cython.locals(
        header=SegmentHeader, arrived=ReceiveWindow, window=SendWindow, free=int,
        milliseconds="long long", fresh=bint,
    )
    cpdef int poll_datagrams(self, double now) except -1

    cdef long long _send_limit(self) noexcept

    @cython.locals(used=Py_ssize_t)
    cdef bint _make_room(self, Py_ssize_t size) noexcept

    cdef void _end_datagram(self) noexcept

    @cython.locals(
        arrived=ReceiveWindow, header=SegmentHeader, last=int, sequence="long long"
    )
    cdef bint _write_acks(self) noexcept

    @cython.locals(probe=WindowProbe)
    cdef bint _write_window_news(self, double now) noexcept

    cdef void _write_header(self) noexcept

    @cython.locals(window=SendWindow, sequence="long long", rto=double, timeouts=int)
    cdef int _write_resends(self, double now, long long milliseconds) except -1

    @cython.locals(
        window=SendWindow, largest=Py_ssize_t, few=Py_ssize_t, begins=bint, fresh=bint, size=Py_ssize_t,
        sequence="long long",
    )
    cdef int _write_new(self, double now, long long milliseconds) except -1

    @cython.locals(window=SendWindow, sequence="long long")
    cdef _write_early(self, double now, long long milliseconds, bint fresh)

    @cython.locals(window=SendWindow, size=Py_ssize_t)
    cdef int _resend(
        self, long long sequence, int timeouts, double now, long long milliseconds
    ) except -1

    @cython.locals(header=SegmentHeader)
    cdef _write_push(
        self, long long sequence, long long position, Py_ssize_t size, long long milliseconds
    )

    @cython.locals(large=bint)
    cdef _reclaim(self, double now, long long in_flight)
