from polevpn_trio.transport.tls cimport TlsStream
from polevpn_trio.transport.tls_stream_link cimport Joiner, TlsStreamLink


cdef class _Joiner(Joiner):
    pass


cdef class TlsLink(TlsStreamLink):
    cdef object _failure
    cdef double _path_due
    cdef object _time

    cpdef _note(self, Py_ssize_t count)


cdef class _Taking:
    cdef TlsLink _link
    cdef TlsStream _stream
    cdef object _consume
    cdef public object rest
