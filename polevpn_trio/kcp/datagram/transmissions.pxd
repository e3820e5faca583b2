cimport cython

from polevpn_trio.kcp.congestion.base cimport AckEvent
from polevpn_trio.kcp.datagram.body_pool cimport BodyPool

cdef int _SMALLEST
cdef int _IN_FLIGHT
cdef int _ACKNOWLEDGED
cdef int _LOST
cdef int _NONE


@cython.final
cdef class Transmissions:
    cdef BodyPool _bodies
    cdef readonly long long first
    cdef readonly long long next
    cdef readonly long long largest
    cdef readonly long long in_flight
    cdef readonly long long delivered
    cdef readonly long long lost
    cdef readonly long long spurious
    cdef readonly double newest_sent_at
    cdef readonly Py_ssize_t capacity
    cdef double _delivered_at
    cdef double _first_sent_at
    cdef long long _limited_until
    cdef unsigned char[::1] _state
    cdef int[::1] _body
    cdef long long[::1] _serial
    cdef int[::1] _size
    cdef double[::1] _sent_at
    cdef long long[::1] _run_end
    cdef long long[::1] _sent_delivered
    cdef double[::1] _sent_delivered_at
    cdef double[::1] _sent_first_at
    cdef unsigned char[::1] _limited

    cdef _allocate(self, Py_ssize_t capacity)

    @cython.locals(
        mask="long long", state="unsigned char[::1]", body="int[::1]", serial="long long[::1]",
        size="int[::1]", sent_at="double[::1]", run_end="long long[::1]",
        sent_delivered="long long[::1]", sent_delivered_at="double[::1]",
        sent_first_at="double[::1]", limited="unsigned char[::1]", keep=Py_ssize_t,
        number="long long", old=Py_ssize_t, new=Py_ssize_t,
    )
    cdef _resize(self, Py_ssize_t capacity)

    cpdef shrink(self)

    @cython.locals(number="long long", index=Py_ssize_t)
    cpdef long long add(self, int body, int size, double now) except *

    @cython.locals(index=Py_ssize_t)
    cpdef void attach(self, int size) noexcept

    cpdef void note_app_limited(self) noexcept

    @cython.locals(
        oldest="long long", mask="long long", number="long long", index=Py_ssize_t, state=int
    )
    cpdef void acknowledge(self, long long low, long long high, AckEvent event) noexcept

    @cython.locals(
        index=Py_ssize_t, sent_elapsed=double, ack_elapsed=double, elapsed=double,
        packets="long long",
    )
    cpdef void finish(self, AckEvent event) noexcept

    cpdef double sent_at(self, long long number) noexcept

    cpdef bint is_unresolved(self, long long number) noexcept

    @cython.locals(index=Py_ssize_t)
    cpdef int body(self, long long number) noexcept

    @cython.locals(mask="long long", index=Py_ssize_t, body=int)
    cpdef void detect_losses(self, double overdue, AckEvent event) noexcept

    cdef void _skip_resolved(self) noexcept

    @cython.locals(index=Py_ssize_t)
    cpdef void give_up_first(self, AckEvent event) noexcept

    cpdef double oldest_overtaken(self) noexcept
