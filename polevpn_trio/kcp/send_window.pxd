cimport cython

from polevpn_trio.kcp.congestion.base cimport AckEvent

cdef int _LAST_LIST
cdef long long _NONE
cdef double _NEVER
cdef long long _MASK32
cdef double _MAX_BACKOFF


@cython.final
cdef class SendWindow:
    cdef readonly long long first
    cdef readonly long long next
    cdef readonly long long una
    cdef readonly Py_ssize_t capacity
    cdef readonly long long in_flight
    cdef readonly long long delivered
    cdef bint _gentle
    cdef int _fast_resend
    cdef long long _transmissions
    cdef long long _event
    cdef long long _sends_before
    cdef long long[::1] _highest
    cdef long long[::1] _oldest
    cdef long long[::1] _newest
    cdef long long[::1] _position
    cdef unsigned short[::1] _length
    cdef long long[::1] _transmission
    cdef double[::1] _sent_at
    cdef unsigned int[::1] _timestamp
    cdef unsigned int[::1] _sends
    cdef unsigned short[::1] _timeouts
    cdef long long[::1] _older
    cdef long long[::1] _newer
    cdef int _overhead
    cdef double _delivered_at
    cdef double _first_sent_at
    cdef long long _limited_until
    cdef long long _new_packets
    cdef long long _new_bytes
    cdef long long _spurious
    cdef long long _lost_packets
    cdef long long _lost_bytes
    cdef long long _lost_runs
    cdef long long _last_lost
    cdef long long _sample
    cdef double _sample_sent_at
    cdef double _sample_first_sent_at
    cdef long long _sample_delivered
    cdef double _sample_delivered_at
    cdef bint _sample_limited
    cdef long long[::1] _sent_delivered
    cdef double[::1] _sent_delivered_at
    cdef double[::1] _sent_first_at
    cdef unsigned char[::1] _limited

    cdef _allocate(self, Py_ssize_t capacity)

    @cython.locals(
        position="long long[::1]", length="unsigned short[::1]", transmission="long long[::1]",
        sent_at="double[::1]", timestamp="unsigned int[::1]", sends="unsigned int[::1]",
        timeouts="unsigned short[::1]", older="long long[::1]", newer="long long[::1]",
        sent_delivered="long long[::1]", sent_delivered_at="double[::1]",
        sent_first_at="double[::1]", limited="unsigned char[::1]",
        mask=Py_ssize_t, old=Py_ssize_t, slot=Py_ssize_t, sequence="long long",
    )
    cpdef resize(self, Py_ssize_t capacity)

    @cython.locals(sequence="long long", slot=Py_ssize_t)
    cpdef long long add(
        self, long long position, Py_ssize_t length, double now, unsigned int timestamp
    ) except *

    @cython.locals(slot=Py_ssize_t)
    cpdef void resend(
        self, long long sequence, int timeouts, double now, unsigned int timestamp
    ) noexcept

    cpdef long long position(self, long long sequence) noexcept

    cpdef Py_ssize_t length(self, long long sequence) noexcept

    cpdef int timeouts(self, long long sequence) noexcept

    @cython.locals(which=int, newest="long long")
    cdef void _stamp(
        self, long long sequence, Py_ssize_t slot, double now, unsigned int timestamp
    ) noexcept

    @cython.locals(which=int, mask=Py_ssize_t, older="long long", newer="long long")
    cdef void _unlink(self, long long sequence, Py_ssize_t slot) noexcept

    @cython.locals(ahead="long long", slot=Py_ssize_t, transmission="long long", known=bint)
    cpdef bint acknowledge(self, long long sequence, unsigned int timestamp) noexcept

    @cython.locals(size=Py_ssize_t)
    cdef void _deliver(self, Py_ssize_t slot, bint known) noexcept

    cpdef void note_app_limited(self) noexcept

    @cython.locals(sent_elapsed=double, elapsed=double)
    cpdef void finish(self, AckEvent event) noexcept

    @cython.locals(waiting="long long", mask=Py_ssize_t, slot=Py_ssize_t)
    cpdef long long acknowledge_before(self, long long sequence) noexcept

    cpdef long long stream_position(self, long long end) noexcept

    @cython.locals(event="long long", lower="long long", i=int)
    cpdef void end_event(self) noexcept

    cpdef void note_progress(self) noexcept

    cpdef long long sends_in_vain(self) noexcept

    @cython.locals(bound="long long", which=int, head="long long")
    cpdef long long overtaken(self, int events) noexcept

    @cython.locals(which=int, head="long long")
    cpdef long long overdue(self, double now, double rto) noexcept

    @cython.locals(earliest=double, deadline=double, which=int, head="long long")
    cpdef double next_timeout(self, double rto) noexcept

    @cython.locals(slot=Py_ssize_t, timeouts=int, wait=double)
    cdef double _deadline(self, long long sequence, double rto) noexcept
