cimport cython

cdef double _TOLERATED
cdef double _DEVIATIONS
cdef double _SAMPLE
cdef double _MEMORY
cdef double _MOST
cdef double _PRIOR_LOST
cdef double _PRIOR_SENT
cdef double _LONGEST_RUN


@cython.final
cdef class BaseLoss:
    cdef readonly double share
    cdef readonly double known
    cdef double _known_lost
    cdef double _sent
    cdef double _lost
    cdef double _all_lost
    cdef double _all_runs

    cpdef void begin(self) noexcept

    cpdef void add(self, double sent, double lost, double runs) noexcept

    cpdef bint is_enough(self) noexcept

    cpdef double sample_share(self) noexcept

    @cython.locals(known=double, base=double, run=double, variance=double, chance=double)
    cpdef bint is_exceeded(self) noexcept

    cpdef void learn(self) noexcept

    cpdef void replace(self) noexcept

    cpdef void doubt(self) noexcept
