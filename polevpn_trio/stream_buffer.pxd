cimport cython

from polevpn_trio cimport raw_copy

cdef Py_ssize_t _LARGEST_SPARE


@cython.final
cdef class StreamBuffer:
    cdef readonly Py_ssize_t start
    cdef public Py_ssize_t end
    cdef readonly bytearray data
    cdef readonly Py_ssize_t capacity
    cdef unsigned char[::1] _view
    cdef Py_ssize_t _expected

    @cython.locals(
        held=Py_ssize_t, spare=Py_ssize_t, capacity=Py_ssize_t, data=bytearray,
        view="unsigned char[::1]",
    )
    cpdef reserve(self, Py_ssize_t size)

    cpdef write(self, const unsigned char[::1] source, Py_ssize_t at, Py_ssize_t size)

    @cython.locals(view="const unsigned char[::1]")
    cpdef append(self, data)

    cpdef advance(self, Py_ssize_t position)

    cpdef bytes take(self)
