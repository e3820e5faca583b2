cimport cython

from polevpn_trio.frames.ip cimport is_well_formed
from polevpn_trio.frames.segmentation cimport segments_in, sequence_of

cdef bint _INTERPRETED
cdef int _OWN
cdef int _MARTIAN
cdef int _OFFLOAD
cdef Py_ssize_t _FRAME_HEADER
cdef int _SLOTS
cdef Py_ssize_t _NEVER


@cython.final
cdef class SourceFilter:
    cdef object _judge
    cdef unsigned char[::1] _version
    cdef unsigned char[::1] _verdict
    cdef unsigned long long[::1] _high
    cdef unsigned long long[::1] _low
    cdef Py_ssize_t _generation
    cdef readonly Py_ssize_t spoofed
    cdef readonly Py_ssize_t martian
    cdef readonly bytes refused

    @cython.locals(
        view="unsigned char[::1]", slot=int, total=Py_ssize_t, at=Py_ssize_t, kept=Py_ssize_t,
        size=Py_ssize_t, start=Py_ssize_t, source=Py_ssize_t, version=int,
        high="unsigned long long", low="unsigned long long", last_version=int,
        last_high="unsigned long long", last_low="unsigned long long", verdict=int,
    )
    cpdef Py_ssize_t sift_untrusted(
        self, data, int sequences, Py_ssize_t generation
    ) except -1

    @cython.locals(mixed="unsigned long long", slot=int)
    cdef int _verdict_on(
        self, unsigned char[::1] view, Py_ssize_t source, int version,
        unsigned long long high, unsigned long long low
    ) except -1

    @cython.locals(
        start=Py_ssize_t, packets=Py_ssize_t, sequence="unsigned int", version=int,
    )
    cdef int _refuse(
        self, unsigned char[::1] view, Py_ssize_t at, Py_ssize_t size, int sequences,
        int verdict
    ) except -1


@cython.locals(size=Py_ssize_t, index=Py_ssize_t)
cdef bytes _address(unsigned char[::1] view, Py_ssize_t at, int version)


@cython.locals(index=Py_ssize_t)
cdef void _move(
    unsigned char[::1] view, Py_ssize_t source, Py_ssize_t target, Py_ssize_t size
) noexcept


@cython.locals(high="unsigned int")
cdef unsigned long long _word(unsigned char[::1] view, Py_ssize_t at) noexcept
