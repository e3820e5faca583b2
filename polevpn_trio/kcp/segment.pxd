cimport cython


@cython.final
cdef class SegmentHeader:
    cdef public unsigned int conversation_id
    cdef public unsigned char command
    cdef public unsigned char fragment
    cdef public unsigned short window
    cdef public unsigned int timestamp
    cdef public unsigned int sequence
    cdef public unsigned int acknowledged
    cdef public unsigned int length

    cpdef void read(self, const unsigned char[::1] buffer, Py_ssize_t at) noexcept

    @cython.locals(value="unsigned int")
    cpdef void write(self, unsigned char[::1] buffer, Py_ssize_t at) noexcept
