cimport cython

from polevpn_trio.frames.ip cimport is_well_formed
from polevpn_trio.kcp.datagram.body_pool cimport BodyPool
from polevpn_trio.kcp.datagram.flow_class cimport FlowClassifier
from polevpn_trio.kcp.datagram.wire cimport read16, write16

cdef int _SKIPS
cdef int _ORDERED
cdef int _UNORDERED
cdef int _SKIP
cdef int _ACK_DELAY
cdef int _PART
cdef int _ITEM
cdef int _SKIP_SIZE
cdef int _ACK_DELAY_SIZE
cdef int _PART_SIZE
cdef int _LARGEST_PACKET
cdef int _OVERSIZE_LIMIT
cdef int _REACH
cdef int _REMEMBERED
cdef Py_ssize_t _FRAME_HEADER
cdef double _NEVER


@cython.final
cdef class BodyBuilder:
    cdef public bint dry
    cdef readonly long long packets
    cdef readonly long long packet_bytes
    cdef readonly long long expired
    cdef readonly long long oversize
    cdef readonly long long oversize_dropped
    cdef readonly long long malformed
    cdef readonly long long skips_sent
    cdef readonly long long skips_dropped
    cdef object _source
    cdef BodyPool _bodies
    cdef FlowClassifier _flow
    cdef const unsigned char[::1] _staged
    cdef bint _is_offered
    cdef object _oversize
    cdef Py_ssize_t _staged_at
    cdef Py_ssize_t _staged_end
    cdef Py_ssize_t _part_offset
    cdef int _part_item
    cdef int _part_sequence
    cdef unsigned short[::1] _sequences
    cdef int _unordered
    cdef double[::1] _deadlines
    cdef unsigned char[::1] _skip_bucket
    cdef unsigned short[::1] _skip_sequence
    cdef unsigned char[::1] _skip_count
    cdef int _skips
    cdef int _ack_delay

    cpdef bint has_staged(self) noexcept

    cpdef offer(self, frames)

    @cython.locals(begin=Py_ssize_t, end=Py_ssize_t)
    cpdef bytes take_back(self)

    cpdef bint fetch(self, long long most, double now) except -1

    @cython.locals(
        bodies=BodyPool, flow=FlowClassifier, staged="const unsigned char[::1]",
        room=Py_ssize_t, slot=int, at=Py_ssize_t, begin=Py_ssize_t, size=Py_ssize_t,
        packet=Py_ssize_t, version=int, length=Py_ssize_t, data="unsigned char[::1]",
        deadline=double, split=bint, item=int, sequence=int, offset=Py_ssize_t, part=Py_ssize_t,
    )
    cpdef int build(self, double now) except -2

    cdef _put_aside(self, Py_ssize_t size)

    cpdef bytes take_oversize(self)

    @cython.locals(
        data="unsigned char[::1]", at=Py_ssize_t, end=Py_ssize_t, known=Py_ssize_t, item=int,
        newest=int,
    )
    cpdef bint is_stale(self, int slot) noexcept

    cdef Py_ssize_t _item_size(self, unsigned char[::1] data, Py_ssize_t at) noexcept

    @cython.locals(
        data="unsigned char[::1]", at=Py_ssize_t, end=Py_ssize_t, known=Py_ssize_t, item=int
    )
    cpdef void give_up(self, int slot) noexcept

    @cython.locals(last=int)
    cdef void _queue_skip(self, int bucket, int sequence) noexcept

    cpdef bint news(self) noexcept

    cpdef void tell_ack_delay(self, int milliseconds) noexcept

    @cython.locals(
        bodies=BodyPool, slot=int, begin=Py_ssize_t, at=Py_ssize_t, data="unsigned char[::1]"
    )
    cpdef int build_control(self) except -1
