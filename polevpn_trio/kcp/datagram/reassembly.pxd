cimport cython

cdef int _SLOTS
cdef int _MOST_PARTS
cdef int _EMPTY
cdef int _SPREAD


@cython.final
cdef class Reassembly:
    cdef readonly Py_ssize_t stride
    cdef readonly int evicted
    cdef readonly long long evictions
    cdef readonly int used
    cdef int _slots
    cdef unsigned char[::1] data
    cdef int[::1] _key
    cdef unsigned short[::1] _total
    cdef unsigned short[::1] _arrived
    cdef unsigned char[::1] _parts
    cdef unsigned short[::1] _offsets

    cdef _allocate(self, int slots)

    @cython.locals(slot=int, first=int, index=int, begin=Py_ssize_t)
    cpdef int add(
        self, int key, int total, int offset, const unsigned char[::1] view, Py_ssize_t at,
        Py_ssize_t length,
    ) except -2

    cpdef shrink(self)
