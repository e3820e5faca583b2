cimport cython

cdef double _BURST_TIME
cdef int _LEAST_BURST
cdef double _LATENESS
cdef double _INFINITE


@cython.final
cdef class Pacer:
    cdef double _least
    cdef double _credit
    cdef double _rate
    cdef double _at

    @cython.locals(most=double)
    cpdef void refill(self, double rate, double now) noexcept

    cpdef double credit(self) noexcept

    cpdef bint is_due(self) noexcept

    cpdef void charge(self, int size) noexcept

    cpdef double next_burst(self) noexcept

    @cython.locals(burst=double)
    cdef double _burst(self) noexcept
