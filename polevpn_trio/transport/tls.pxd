cimport cython

from polevpn_trio.stream_buffer cimport StreamBuffer
from polevpn_trio.transport.path_governor cimport PathGovernor
from polevpn_trio.transport.tls_session cimport TlsSession


cdef class TlsStream:
    cdef object __weakref__
    cdef readonly object _socket
    cdef object _peer_chain
    cdef object _identity
    cdef readonly TlsSession _session
    cdef bytes _pushed_back
    cdef bytes _part
    cdef bint _over
    cdef object _send_lock
    cdef object _writable
    cdef bint _broken
    cdef bint _shut_down
    cdef bytes _records
    cdef object _rest
    cdef long long _sent
    cdef object _not_sent_limit
    cdef PathGovernor _governor
    cdef object _congestion
    cdef object _poll

    cpdef receive_into_nowait(self, StreamBuffer target)

    @cython.locals(
        held=Py_ssize_t, count=Py_ssize_t, size=Py_ssize_t, began=Py_ssize_t, session=TlsSession
    )
    cdef _receive(self, StreamBuffer target)

    cdef Py_ssize_t _write_nowait(self, records) except -1

    cdef _seal(self, data)

    cdef _check_keys(self)

    cdef bint _ready(self) except -1

    @cython.locals(sent=Py_ssize_t)
    cpdef bint send_nowait(self, data) except -1

    cpdef govern(self, double now)

    cpdef bint takes_more(self) except -1

    @cython.locals(sent=Py_ssize_t)
    cdef _answer(self)

    cdef _say_last_words(self)


cdef class _Serving:
    cdef TlsStream _stream
    cdef object _handler
