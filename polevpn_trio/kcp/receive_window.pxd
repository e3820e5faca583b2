cimport cython

from polevpn_trio.stream_buffer cimport StreamBuffer

cdef int _FEWEST_ACKS
cdef int _IN_ORDER
cdef int _EARLY
cdef int _DUPLICATE
cdef int _OUTSIDE
cdef long long _MASK32
cdef long long _HALF


@cython.final
cdef class ReceiveWindow:
    cdef readonly long long next
    cdef readonly int unread
    cdef readonly int window
    cdef public int acks
    cdef readonly long long acks_dropped
    cdef unsigned int[::1] ack_sequences
    cdef unsigned int[::1] ack_timestamps
    cdef int _ack_room
    cdef int _most_acks
    cdef dict _early
    cdef Py_ssize_t _early_bytes
    cdef readonly StreamBuffer stream
    cdef Py_ssize_t _new

    cpdef widen(self, int window)

    @cython.locals(ahead="long long")
    cpdef int accept(
        self,
        long long sequence,
        source,
        const unsigned char[::1] view,
        Py_ssize_t at,
        Py_ssize_t size,
    ) except -1

    cdef _deliver(
        self, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t size
    )

    cdef _deliver_early(self)

    cpdef add_ack(self, unsigned int sequence, unsigned int timestamp)

    @cython.locals(new=Py_ssize_t)
    cpdef Py_ssize_t fetch(self) except -1

    cpdef Py_ssize_t buffer_bytes(self) noexcept

    cpdef bint is_large(self) noexcept

    cpdef shrink(self)

    @cython.locals(sequences="unsigned int[::1]", timestamps="unsigned int[::1]")
    cdef _resize_acks(self, int room)
