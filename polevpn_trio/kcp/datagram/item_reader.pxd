cimport cython

from polevpn_trio.frames.ip cimport is_well_formed
from polevpn_trio.kcp.datagram.arrivals cimport Arrivals
from polevpn_trio.kcp.datagram.flow_order cimport FlowOrder
from polevpn_trio.kcp.datagram.reassembly cimport Reassembly
from polevpn_trio.kcp.datagram.wire cimport read16

cdef Py_ssize_t _LARGEST_PACKET
cdef int _ORDERED
cdef int _UNORDERED
cdef int _SKIP
cdef int _ACK_DELAY
cdef int _PART
cdef int _BUCKETS
cdef Py_ssize_t _ITEM
cdef Py_ssize_t _SKIP_SIZE
cdef Py_ssize_t _ACK_DELAY_SIZE
cdef Py_ssize_t _PART_SIZE


@cython.final
cdef class ItemReader:
    cdef readonly FlowOrder order
    cdef readonly Reassembly parts
    cdef Arrivals _arrivals

    @cython.locals(
        item=int, begin=Py_ssize_t, version=int, length=Py_ssize_t, sequence=int, index=int,
        count=int,
    )
    cpdef bint read_untrusted(
        self, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t end, double now
    ) except -1

    @cython.locals(
        parts=Reassembly, item=int, total=int, offset=int, sequence=int, slot=int, bucket=int,
        begin=Py_ssize_t, version=int,
    )
    cdef bint _read_part(
        self, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t length, double now
    ) except -1
