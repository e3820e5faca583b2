cimport cython

from polevpn_trio.tun.offload cimport Coalescer, Splitter


cdef class TunDevice:
    cdef readonly object name
    cdef readonly int mtu
    cdef readonly bint offload
    cdef readonly bint udp_offload
    cdef object _tun
    cdef bint _mss_clamp
    cdef int _fd
    cdef bint _closed
    cdef Splitter _splitter
    cdef Coalescer _coalescer
    cdef Py_ssize_t _skip
    cdef object _unit
    cdef list _read_into
    cdef bint _writing
    cdef Py_ssize_t _next_unit
    cdef Py_ssize_t _units
    cdef long long _packets_read
    cdef long long _bytes_read
    cdef long long _packets_written
    cdef long long _bytes_written
    cdef dict _write_drops

    cpdef keep_super_packets(self, bint keep)

    cpdef clamp_mss(self, largest_packet)

    cpdef read_batch_nowait(self, unsigned int command)

    @cython.locals(splitter=Splitter, packets=Py_ssize_t, headers=Py_ssize_t)
    cdef _take(self)

    @cython.locals(splitter=Splitter, length=Py_ssize_t, _=int)
    cdef _drain(self, unsigned int command)

    cpdef bint write_batch_nowait(self, data) except -1

    @cython.locals(
        coalescer=Coalescer, written=Py_ssize_t, length=Py_ssize_t, packets=Py_ssize_t
    )
    cdef bint _write_units(self, Py_ssize_t most) except -1

    @cython.locals(written=Py_ssize_t)
    cdef bint _write(self, unit, Py_ssize_t packets) except -1
