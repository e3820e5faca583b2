cimport cython

cdef int _PAUSE
cdef double _NEVER


@cython.final
cdef class Tail:
    cdef readonly double due
    cdef double _wait
    cdef long long _end
    cdef int _pause
    cdef double _full_at

    cpdef bint waits(self, long long end, double now) noexcept

    cpdef void review(self, long long end, double now) noexcept

    cpdef void note_full_batch(self, double now) noexcept

    cpdef bint keep(self, long long end, double now) noexcept
