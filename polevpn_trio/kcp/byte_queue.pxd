cimport cython

from polevpn_trio cimport raw_copy

cdef Py_ssize_t _KEPT_FROM
cdef Py_ssize_t _MOST_UNUSED
cdef Py_ssize_t _SHARED


@cython.final
cdef class _Piece:
    cdef long long start
    cdef long long end
    cdef const unsigned char[::1] view
    cdef Py_ssize_t size


@cython.final
cdef class ByteQueue:
    cdef readonly long long start
    cdef readonly long long end
    cdef readonly Py_ssize_t held
    cdef list _pieces
    cdef Py_ssize_t _hint
    cdef _Piece _open
    cdef unsigned char[::1] _open_view

    @cython.locals(view="const unsigned char[::1]", size=Py_ssize_t)
    cpdef append(self, data)

    @cython.locals(piece=_Piece, room=Py_ssize_t)
    cdef _append_copy(self, const unsigned char[::1] view, Py_ssize_t size)

    @cython.locals(piece=_Piece)
    cdef _Piece _add(self, const unsigned char[::1] view, Py_ssize_t size, Py_ssize_t memory)

    @cython.locals(piece=_Piece, index=Py_ssize_t, count=Py_ssize_t)
    cpdef copy_out(
        self, long long position, Py_ssize_t size, unsigned char[::1] target, Py_ssize_t at
    )

    @cython.locals(piece=_Piece, index=Py_ssize_t, last=Py_ssize_t, low=Py_ssize_t)
    cdef Py_ssize_t _find(self, long long position) except -1

    @cython.locals(piece=_Piece, gone=Py_ssize_t, count=Py_ssize_t)
    cpdef release(self, long long position)


cdef Py_ssize_t _memory_of(data, Py_ssize_t size) except -1
