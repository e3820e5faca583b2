cimport cython

from polevpn_trio cimport raw_copy


@cython.final
cdef class ByteQueue:
    cdef readonly long long start
    cdef readonly long long end
    cdef readonly Py_ssize_t capacity
    cdef unsigned char[::1] _ring

    @cython.locals(
        view="const unsigned char[::1]", size=Py_ssize_t, capacity=Py_ssize_t, at=Py_ssize_t,
        head=Py_ssize_t,
    )
    cpdef append(self, data)

    @cython.locals(begin=Py_ssize_t, head=Py_ssize_t)
    cpdef copy_out(
        self, long long position, Py_ssize_t size, unsigned char[::1] target, Py_ssize_t at
    )

    cpdef void release(self, long long position) noexcept

    @cython.locals(ring="unsigned char[::1]", position="long long", at=Py_ssize_t, piece=Py_ssize_t)
    cpdef resize(self, Py_ssize_t capacity)
