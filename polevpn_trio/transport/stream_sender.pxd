cimport cython

from polevpn_trio.transport.tls cimport TlsStream


cdef class StreamSender:
    cdef TlsStream _stream
    cdef object _build
    cdef list _given
    cdef Py_ssize_t _given_bytes
    cdef object _source
    cdef object _due
    cdef object _time

    cpdef give(self, buffers)

    @cython.locals(given=list, now=double)
    cpdef flush(self)

    @cython.locals(stream=TlsStream, left=Py_ssize_t, most=Py_ssize_t)
    cdef bint _pull(self, source, double now) except -1
