cimport cython

from polevpn_trio.kcp.datagram.wire cimport write16

cdef int _BUCKETS
cdef int _HELD_LIMIT
cdef int _REACH
cdef double _PATIENCE
cdef int _REMEMBERED
cdef Py_ssize_t _FRAME_HEADER
cdef int _SMALLEST_HELD
cdef Py_ssize_t _SMALLEST_OUTPUT
cdef int _NONE
cdef double _NEVER
cdef unsigned long long _HASH
cdef unsigned long long _MASK32


@cython.final
cdef class FlowOrder:
    cdef readonly int command
    cdef readonly int held
    cdef readonly long long packets
    cdef readonly long long bytes
    cdef readonly long long duplicates
    cdef readonly long long late
    cdef readonly long long abandoned
    cdef Py_ssize_t _stride
    cdef unsigned short[::1] _next
    cdef unsigned short[::1] _waiting
    cdef double[::1] _waiting_since
    cdef int _blocked
    cdef int _newest
    cdef unsigned char[::1] _seen
    cdef unsigned char[::1] _output
    cdef Py_ssize_t _output_capacity
    cdef Py_ssize_t _filled
    cdef Py_ssize_t _capacity
    cdef unsigned char[::1] _data
    cdef unsigned short[::1] _length
    cdef int[::1] _key
    cdef int[::1] _chain
    cdef int[::1] _heads
    cdef int[::1] _free
    cdef Py_ssize_t _free_count

    cdef _allocate(self, Py_ssize_t capacity)

    @cython.locals(
        old=Py_ssize_t, data="unsigned char[::1]", length="unsigned short[::1]",
        key="int[::1]", slot=Py_ssize_t,
    )
    cdef _grow(self)

    @cython.locals(place=Py_ssize_t)
    cdef void _link(self, int slot, int key) noexcept

    cdef Py_ssize_t _place(self, unsigned long long key) noexcept

    @cython.locals(slot=int)
    cdef int _find(self, int key) noexcept

    @cython.locals(place=Py_ssize_t, slot=int, before=int)
    cdef int _take(self, int key) noexcept

    @cython.locals(slot=int, begin=Py_ssize_t)
    cdef _hold(
        self, int bucket, int sequence, const unsigned char[::1] view, Py_ssize_t at,
        Py_ssize_t length,
    )

    @cython.locals(ahead=int)
    cpdef add(
        self, int bucket, int sequence, const unsigned char[::1] view, Py_ssize_t at,
        Py_ssize_t length, double now,
    )

    @cython.locals(sequence=int, slot=int)
    cdef _release(self, int bucket, double now)

    @cython.locals(length=Py_ssize_t)
    cdef _hand_on(self, int bucket, int sequence, int slot)

    @cython.locals(blocked=bint, at=int, slot=int)
    cdef _advance(self, int bucket, int sequence, double now)

    @cython.locals(ahead=int, index=int)
    cpdef add_unordered(
        self, int sequence, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t length
    )

    @cython.locals(earliest=double, bucket=int)
    cpdef double next_timeout(self) noexcept

    @cython.locals(bucket=int, sequence=int)
    cpdef release_overdue(self, double now)

    @cython.locals(size=Py_ssize_t, output="unsigned char[::1]", begin=Py_ssize_t)
    cdef _emit(self, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t length)

    @cython.locals(capacity=Py_ssize_t, output="unsigned char[::1]")
    cdef _widen(self, Py_ssize_t needed)

    cpdef object receive(self)

    cpdef shrink(self)
