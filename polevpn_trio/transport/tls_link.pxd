from polevpn_trio.transport.tls_stream_link cimport Joiner, TlsStreamLink


cdef class _Joiner(Joiner):
    pass


cdef class TlsLink(TlsStreamLink):
    cdef object _failure
    cdef double _path_due
    cdef object _time

    cpdef _note(self, data)
