cimport cython

cdef double _MAX_RTO


@cython.final
cdef class RoundTrip:
    cdef readonly double smoothed
    cdef readonly double variation
    cdef readonly double timeout
    cdef readonly long long samples
    cdef double _interval
    cdef double _shortest

    @cython.locals(error=double, slack=double, timeout=double)
    cpdef void add_sample(self, double sample) noexcept
