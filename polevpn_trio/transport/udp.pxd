cimport cython


cdef class UdpSocket:
    cdef readonly int family
    cdef readonly object peer
    cdef readonly object _socket
    cdef bint _closed
    cdef object _writable
    cdef readonly dict _refused
    cdef long long _datagrams_sent
    cdef long long _bytes_sent
    cdef long long _batches_sent
    cdef long long _datagrams_received
    cdef long long _bytes_received
    cdef long long _batches_received
    cdef long long _send_errors
    cdef long long _receive_errors
    cdef long long _gso_refused
    cdef long long _full
    cdef public object last_error
    cdef public int withheld
    cdef public tuple hello_sockets
    cdef public bint gso
    cdef public bint gro

    @cython.locals(size=Py_ssize_t, segment=Py_ssize_t)
    cpdef tuple receive_batch_nowait(self)

    @cython.locals(
        offset=Py_ssize_t, index=Py_ssize_t, told=bint, run=Py_ssize_t, size=Py_ssize_t,
        total=Py_ssize_t,
    )
    cpdef Py_ssize_t send_batch_nowait(
        self, datagrams, sizes, Py_ssize_t count, address, Py_ssize_t first=*
    ) except -1

    cdef _send(self, chunk, tuple control, address)

    @cython.locals(
        size=Py_ssize_t, limit=Py_ssize_t, run=Py_ssize_t, total=Py_ssize_t, last=Py_ssize_t
    )
    cdef tuple _next_run(self, sizes, Py_ssize_t index, Py_ssize_t count, address)

    cdef _check_open(self)
