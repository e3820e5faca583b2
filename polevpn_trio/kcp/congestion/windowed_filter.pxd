cimport cython

cdef double _NEVER


@cython.final
cdef class WindowedMinimum:
    cdef readonly double value
    cdef readonly double since
    cdef double _window
    cdef double _second
    cdef double _second_at
    cdef double _third
    cdef double _third_at

    @cython.locals(age=double)
    cpdef void add(self, double sample, double now) noexcept

    cpdef void restart(self, double sample, double now) noexcept
