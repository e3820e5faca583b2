cimport cython

from polevpn_trio.transport.tls_records cimport TlsOpener, TlsSealer


cdef class TlsSession:
    cdef readonly Py_ssize_t most_at_once
    cdef public Py_ssize_t consumed
    cdef public bint ended
    cdef public str failure
    cdef public bytes answers

    cpdef Py_ssize_t open_untrusted(
        self, bytearray source, Py_ssize_t size, bytearray target, Py_ssize_t at=*
    ) except -1

    cpdef seal(self, data)

    cpdef bytes last_words(self)


cdef class OwnRecords(TlsSession):
    cdef int _key_size
    cdef str _hash
    cdef readonly bytes _our_secret
    cdef readonly bytes _their_secret
    cdef readonly TlsSealer _sealer
    cdef readonly TlsOpener _opener
    cdef bytes _message
    cdef Py_ssize_t _body_left
    cdef public bint _may_get_tickets
    cdef int _updates
    cdef int _cancellations
    cdef bint _update_owed
    cdef readonly int _alert

    @cython.locals(
        start=Py_ssize_t, filled=Py_ssize_t, before=Py_ssize_t, opener=TlsOpener
    )
    cpdef Py_ssize_t open_untrusted(
        self, bytearray source, Py_ssize_t size, bytearray target, Py_ssize_t at=*
    ) except -1

    @cython.locals(needed=Py_ssize_t, size=Py_ssize_t)
    cdef _seal(self, int kind, data)


cdef class OpenSslRecords(TlsSession):
    cdef object _connection
    cdef Py_ssize_t _unfruitful
