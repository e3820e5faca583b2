cimport cython

from polevpn_trio.transport.dtls_session cimport DtlsSession


cdef class DtlsEndpoint:
    cdef readonly object _udp
    cdef readonly object _socket
    cdef readonly object _dtls
    cdef object _cookies
    cdef readonly dict _sessions
    cdef dict _handshakes
    cdef bint _serving
    cdef bint _running
    cdef bint _closed
    cdef object _counts
    cdef dict _attending
    cdef readonly object _own_sockets
    cdef public object _time
    cdef public object _processor_time
    cdef public double handshake_timeout
    cdef public Py_ssize_t max_half_open

    @cython.locals(
        senders=list, end=double, began=double, budget=Py_ssize_t, emptied=bint,
        segment_size=Py_ssize_t, seconds=double, share=double,
    )
    cpdef list _receive_turn(self, udp)

    @cython.locals(owners=dict)
    cdef _end_turn(self)

    @cython.locals(session=DtlsSession, start=Py_ssize_t)
    cpdef _dispatch_batch_untrusted(self, data, Py_ssize_t segment_size, address)

    @cython.locals(session=DtlsSession)
    cdef _dispatch_untrusted(self, datagram, address)

    cdef _deliver(self, DtlsSession session, data, Py_ssize_t segment_size)
