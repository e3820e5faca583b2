cimport cython

cdef double _SHARE_BURST
cdef Py_ssize_t _PACKET_BYTES


@cython.final
cdef class RepairBudget:
    cdef readonly double share
    cdef readonly double allowance
    cdef readonly double shared
    cdef readonly double spare
    cdef readonly unsigned long long spent
    cdef readonly unsigned long long refused
    cdef double _at

    cpdef void earn(self, Py_ssize_t size, double now) noexcept

    cpdef bint spend(self, Py_ssize_t size, double now, bint may_use_allowance) noexcept

    cdef void _pass_time(self, double now) noexcept
