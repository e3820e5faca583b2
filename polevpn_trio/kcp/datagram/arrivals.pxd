cimport cython

from polevpn_trio.kcp.datagram.wire cimport Acknowledgement

cdef int _MOST_RUNS
cdef int _TOLD_AGAIN
cdef int _ACK_EVERY
cdef double _GAP_SHARE
cdef int _NEW
cdef int _DUPLICATE
cdef int _ANCIENT
cdef double _TICKS
cdef double _REORDERING_TICKS
cdef double _MEMORY
cdef double _NEVER


@cython.final
cdef class Arrivals:
    cdef readonly long long highest
    cdef readonly long long arrived
    cdef readonly long long recovered
    cdef readonly long long gaps
    cdef readonly long long duplicates
    cdef readonly long long late
    cdef readonly double due
    cdef public double max_ack_delay
    cdef readonly int unacknowledged
    cdef bint _in_gap
    cdef double _acked_at
    cdef double _highest_at
    cdef long long[::1] _low
    cdef long long[::1] _high
    cdef double[::1] _opened_at
    cdef int _runs
    cdef long long[::1] _changed
    cdef long long _change
    cdef double _straggler
    cdef double _straggler_before
    cdef double _straggler_since

    @cython.locals(fate=int)
    cpdef int add(self, long long number, bint recovered, bint at_once, double now) noexcept

    @cython.locals(top=int, at=int, joins_above=bint, joins_below=bint)
    cdef int _place(self, long long number, bint recovered, double now) noexcept

    @cython.locals(soon=double)
    cdef void _expedite(self, double now) noexcept

    @cython.locals(index=int)
    cdef void _insert(self, int at, long long number, double opened_at) noexcept

    @cython.locals(index=int)
    cdef void _remove(self, int at) noexcept

    cdef void _note_straggler(self, double lateness, double now) noexcept

    @cython.locals(delay=double)
    cpdef bint wants_a_ride(self, bint first, double now) noexcept

    @cython.locals(age=double)
    cpdef double reordering(self, double now) noexcept

    @cython.locals(
        ack=Acknowledgement, delay="long long", late=double, horizon="long long", index=int,
        at=int, low="long long",
    )
    cpdef void fill(self, Acknowledgement acknowledgement, double now) noexcept
