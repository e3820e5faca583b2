cimport cython

cdef int _REALTIME
cdef int _EXCHANGE
cdef int _STREAM
cdef int _SMALL
cdef int _TCP
cdef int _UDP
cdef int _SYN_FIN_RST
cdef int _DNS
cdef int _TLS_HANDSHAKE
cdef int _EXPEDITED
cdef int _VOICE_ADMIT
cdef unsigned long long _MASK32
cdef unsigned long long _FNV_PRIME
cdef unsigned long long _FNV_BASIS


@cython.final
cdef class FlowClassifier:
    cdef readonly int bucket
    cdef readonly bint ordered
    cdef readonly bint important
    cdef readonly int deadline_class

    @cython.locals(
        fragment=bint, protocol=int, header=Py_ssize_t, dscp=int, addresses=Py_ssize_t,
        size=Py_ssize_t, ports=Py_ssize_t, flags=int, payload=Py_ssize_t,
        value="unsigned long long", index=Py_ssize_t,
    )
    cpdef void classify(
        self, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t length
    ) noexcept
