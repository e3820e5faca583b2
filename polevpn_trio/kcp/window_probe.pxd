cimport cython

cdef double _FIRST_PROBE
cdef double _PROBE_GROWTH
cdef double _LAST_PROBE
cdef double _NEVER


@cython.final
cdef class WindowProbe:
    cdef readonly double due
    cdef readonly long long sent
    cdef double _wait

    cpdef void note_window(self, long long window, long long before, double now) noexcept

    cpdef void note_sent(self, double now) noexcept
