cimport cython

cdef double _FASTER_GAIN
cdef double _SLOWER_GAIN
cdef double _STEADY_GAIN
cdef int _TURNS
cdef int _SETTLED_TURNS
cdef int _SETTLED_ROUNDS
cdef int _FREE_ROUNDS
cdef double _NEVER


@cython.final
cdef class Competition:
    cdef readonly int standing
    cdef readonly int free
    cdef readonly int turn
    cdef readonly double gain
    cdef readonly double queue
    cdef double _least
    cdef double _most
    cdef bint _limited

    cpdef void forget(self) noexcept

    cdef void _see(self, double queue) noexcept

    cpdef void look(self, double queue, double limit) noexcept

    cpdef bint varies(self, double queue, double noise) noexcept

    cpdef void begin(self, double queue) noexcept

    cpdef void take_turn(self, double queue, double limit, bint limited) noexcept

    cpdef bint is_over(self) noexcept

    cpdef bint is_busy(self) noexcept

    cpdef bint is_calm(self, double noise) noexcept
