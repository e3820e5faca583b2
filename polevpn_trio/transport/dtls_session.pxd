cimport cython

from polevpn_trio.transport.records cimport RecordOpener, RecordSealer


cdef class DtlsSession:
    cdef readonly object peer_address
    cdef readonly object cipher
    cdef readonly object identity
    cdef readonly object peer_chain
    cdef readonly RecordOpener opener
    cdef readonly bint peer_closed
    cdef readonly object handshake_tokens
    cdef public object owner
    cdef object _forget
    cdef readonly object _udp
    cdef readonly RecordSealer _sealer
    cdef bint _ended
    cdef object _deliver
    cdef readonly object incoming
    cdef object _backlog
    cdef Py_ssize_t _backlog_bytes
    cdef long long _incoming_overflow
    cdef long long _send_overflow
    cdef long long _sent_after_end

    cpdef bint deliver_nowait(self, data, Py_ssize_t segment_size) except -1

    cpdef wake(self)

    @cython.locals(count=Py_ssize_t)
    cpdef Py_ssize_t open_batch_untrusted(self, data, Py_ssize_t segment_size) except -1

    @cython.locals(sealer=RecordSealer, sent=Py_ssize_t)
    cpdef bint send_batch_nowait(self, datagrams, sizes, Py_ssize_t count) except -1

    cdef _keep(self, Py_ssize_t count, Py_ssize_t sent)

    cpdef bint _send_backlog(self) except -1
