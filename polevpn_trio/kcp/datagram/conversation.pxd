cimport cython

from polevpn_trio.kcp.congestion.base cimport AckEvent, CongestionControl
from polevpn_trio.kcp.datagram.arrivals cimport Arrivals
from polevpn_trio.kcp.datagram.body_builder cimport BodyBuilder
from polevpn_trio.kcp.datagram.body_pool cimport BodyPool
from polevpn_trio.kcp.datagram.flow_order cimport FlowOrder
from polevpn_trio.kcp.datagram.item_reader cimport ItemReader
from polevpn_trio.kcp.datagram.pacer cimport Pacer
from polevpn_trio.kcp.datagram.peer_clock cimport PeerClock
from polevpn_trio.kcp.datagram.transmissions cimport Transmissions
from polevpn_trio.kcp.datagram.wire cimport (
    Acknowledgement, expand, read16, read24, write24
)
from polevpn_trio.kcp.round_trip cimport RoundTrip

cdef int _BATCH
cdef int _OVERHEAD
cdef double _SLACK
cdef double _LARGEST_SLACK
cdef double _MOST_BACKOFF
cdef int _PATIENT_PROBES
cdef double _IDLE_SHRINK
cdef int _KIND
cdef int _DATA
cdef int _WITH_ACK
cdef int _AT_ONCE
cdef int _ACK
cdef int _REPAIR
cdef int _HEADER
cdef int _ITEM
cdef int _LARGEST_ACK
cdef double _TICKS
cdef double _REORDERING_TICKS
cdef long long _WRAP
cdef int _DUPLICATE
cdef int _LEAST_ACK_DELAY
cdef int _MOST_ACK_DELAY
cdef double _SHORT_PATH
cdef int _SHORT_ACK_DELAY
cdef double _NEVER
cdef double _EPSILON
cdef double _MINUTE


@cython.final
cdef class DatagramConversation:
    cdef readonly int mtu
    cdef readonly object datagrams
    cdef readonly object sizes
    cdef readonly object important
    cdef public double repair_wait
    cdef unsigned char[::1] _output
    cdef unsigned short[::1] _output_sizes
    cdef unsigned char[::1] _output_important
    cdef Py_ssize_t _output_at
    cdef int _output_count
    cdef Py_ssize_t _last_data

    cdef readonly CongestionControl congestion
    cdef int _overhead
    cdef long long _send_window
    cdef BodyPool _bodies
    cdef BodyBuilder _builder
    cdef Transmissions _transmissions
    cdef Pacer _pacer
    cdef AckEvent _event
    cdef RoundTrip _round_trip
    cdef double _latest_rtt
    cdef PeerClock _peer_clock
    cdef Arrivals _arrivals
    cdef FlowOrder _order
    cdef ItemReader _items
    cdef Acknowledgement _acknowledgement
    cdef double _now

    cdef int _probes_in_vain
    cdef double _reordering
    cdef int _told_ack_delay
    cdef double _asked_at
    cdef double _burst_at
    cdef double _large_at

    cdef readonly long long _peer_arrived
    cdef readonly long long _peer_recovered
    cdef readonly long long _peer_gaps
    cdef long long _open_gaps
    cdef long long _datagrams_sent
    cdef long long _bytes_sent
    cdef long long _resent
    cdef long long _probes
    cdef long long _repairs
    cdef long long _acks_sent
    cdef long long _datagrams_received
    cdef long long _acks_received
    cdef long long _bad_kind
    cdef long long _bad_format
    cdef long long _bad_number
    cdef long long _bad_acknowledgement

    @cython.locals(
        view="const unsigned char[::1]", lengths="const unsigned short[::1]",
        available=Py_ssize_t, at=Py_ssize_t, end=Py_ssize_t, index=Py_ssize_t,
        others=int,
    )
    cpdef int receive_datagrams_untrusted(
        self, datagrams, sizes, Py_ssize_t count, double now, bint recovered=*
    ) except -1

    @cython.locals(kind=int, arrived=Arrivals, number="long long")
    cdef _receive_datagram(
        self, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t end, bint recovered,
        double now,
    )

    cpdef object receive(self)

    cpdef bint offer(self, frames) except -1

    cpdef bytes take_back(self)

    cpdef bytes take_oversize(self)

    @cython.locals(
        sent=Transmissions, ack=Acknowledgement, event=AckEvent, largest="long long", index=int
    )
    cdef _take_acknowledgement(self, double now)

    @cython.locals(ack=Acknowledgement, step="long long")
    cdef void _take_counters(self, AckEvent event) noexcept

    @cython.locals(
        ack=Acknowledgement, event=AckEvent, sent_at=double, rtt=double, wanted=int, change=int,
    )
    cdef void _take_times(self, long long largest, double now) noexcept

    @cython.locals(smoothed=double, wait=double, slack=double)
    cdef double _loss_wait(self) noexcept

    @cython.locals(wait=double, vain=int)
    cdef double _probe_at(self) noexcept

    @cython.locals(sent=Transmissions, earliest=double, due=double)
    cpdef double next_timeout(self) noexcept

    @cython.locals(sent=Transmissions)
    cdef bint _window_open(self) noexcept

    cpdef charge_repair(self, int size, double now)

    cpdef int poll_datagrams(self, double now) except -1

    @cython.locals(sent=Transmissions, event=AckEvent, oldest=double)
    cdef _check_timers(self, double now)

    @cython.locals(
        sent=Transmissions, event=AckEvent, slot=int, newest="long long", oldest=int
    )
    cdef _probe(self, double now)

    @cython.locals(slot=int)
    cdef int _body_to_probe(self, long long number, double now) noexcept

    @cython.locals(bodies=BodyPool, slot=int)
    cdef _write_lost(self, double now)

    @cython.locals(
        sent=Transmissions, builder=BodyBuilder, credit=double, most="long long",
        room="long long", slot=int,
    )
    cdef _write_new(self, double now)

    cdef bint _short_path(self) noexcept

    cdef _end_burst(self, double now)

    @cython.locals(
        bodies=BodyPool, output="unsigned char[::1]", begin=Py_ssize_t, length=Py_ssize_t,
        at=Py_ssize_t, arrived=Arrivals, body=Py_ssize_t, size=Py_ssize_t, number="long long",
    )
    cdef _transmit(self, int slot, int flags, double now)

    @cython.locals(begin=Py_ssize_t)
    cdef _write_acknowledgement(self, double now)

    cdef _reclaim(self, double now)
