import cython

from polevpn_trio.frames.ip cimport (
    clamp_mss,
    fold,
    is_well_formed,
    sum_pseudo_header,
    sum_words,
)
from polevpn_trio.frames.segmentation cimport (
    Segmenter,
    holds_super_packets,
    segments_in,
    sequence_of,
)

cdef Py_ssize_t _VNET_HEADER
cdef Py_ssize_t _FRAME_HEADER
cdef Py_ssize_t _LARGEST_PACKET
cdef Py_ssize_t _LARGEST_FRAME
cdef int _NEEDS_CSUM
cdef int _GSO_NONE
cdef int _GSO_TCPV4
cdef int _GSO_TCPV6
cdef int _GSO_UDP_L4
cdef int _GSO_ECN
cdef int _TCP
cdef int _UDP
cdef int _TCP_CHECKSUM
cdef int _UDP_CHECKSUM
cdef int _PSH
cdef int _ACK
cdef int _CWR
cdef int _FLAGS_OF_LONERS
cdef unsigned int _MASK32
cdef Py_ssize_t _BUCKETS
cdef unsigned int _UDP_SEGMENTS
cdef Py_ssize_t _SMALLEST_FRAME


cdef class Splitter(Segmenter):
    cdef readonly object packet
    cdef unsigned char[::1] _packet
    cdef int _mss4
    cdef int _mss6
    cdef public bint keep_whole
    cdef readonly Py_ssize_t kept_whole
    cdef readonly unsigned long long clamped
    cdef readonly unsigned long long bad_offload
    cdef readonly unsigned long long oversize

    cpdef void clamp_to(self, int mtu) noexcept

    @cython.locals(
        packet="unsigned char[::1]", size=Py_ssize_t, version=int, needs_checksum=bint,
        kind=int, checksum_start=Py_ssize_t, checksum_offset=Py_ssize_t, made=Py_ssize_t,
    )
    cpdef Py_ssize_t split(self, Py_ssize_t length, unsigned int command) except -1

    cpdef take(self)

    @cython.locals(packet="unsigned char[::1]", checksum="unsigned int")
    cdef bint _finish_checksum(
        self, Py_ssize_t size, Py_ssize_t header, Py_ssize_t start, Py_ssize_t offset
    ) noexcept

    @cython.locals(
        packet="unsigned char[::1]", ip=Py_ssize_t, segment_size="unsigned int",
        ip_header=Py_ssize_t, whole=bint, plain=bint, segments=Py_ssize_t, field=Py_ssize_t,
        pseudo="unsigned int",
    )
    cdef Py_ssize_t _take_run(
        self, Py_ssize_t size, int version, int protocol, Py_ssize_t transport,
        unsigned int command
    ) except -1


cdef class Coalescer:
    cdef readonly object unit
    cdef unsigned char[::1] _unit
    cdef const unsigned char[::1] _data
    cdef Segmenter _segmenter
    cdef bint _merge_tcp
    cdef bint _merge_udp
    cdef int _mss4
    cdef int _mss6
    cdef unsigned int[::1] _bucket_unit
    cdef unsigned int[::1] _bucket_used
    cdef unsigned int[::1] _bucket_tag
    cdef Py_ssize_t _bucket_turn
    cdef Py_ssize_t _capacity
    cdef unsigned int[::1] _start
    cdef unsigned int[::1] _size
    cdef unsigned int[::1] _next
    cdef unsigned int[::1] _unit_first
    cdef unsigned int[::1] _unit_last
    cdef unsigned int[::1] _unit_count
    cdef unsigned int[::1] _unit_header
    cdef unsigned int[::1] _unit_total
    cdef unsigned int[::1] _unit_verified
    cdef unsigned int[::1] _unit_segment
    cdef Py_ssize_t _count
    cdef Py_ssize_t _units
    cdef readonly unsigned long long packets
    cdef readonly unsigned long long super_packets
    cdef readonly unsigned long long clamped
    cdef readonly unsigned long long malformed
    cdef readonly unsigned long long bad_checksum

    cpdef void clamp_to(self, int mtu) noexcept

    cdef int _reserve(self, Py_ssize_t capacity) except -1

    @cython.locals(
        view="const unsigned char[::1]", total=Py_ssize_t, bucket=Py_ssize_t, at=Py_ssize_t,
        length=Py_ssize_t, start=Py_ssize_t, size=Py_ssize_t, version=int,
        segment_size="unsigned int", segments=Py_ssize_t, before="unsigned long long",
    )
    cpdef Py_ssize_t coalesce_batch_untrusted(self, data) except -1

    cpdef Py_ssize_t packets_in(self, Py_ssize_t index) noexcept

    @cython.locals(
        data="const unsigned char[::1]", ip_header=Py_ssize_t, addresses=Py_ssize_t,
        protocol=int, plain=bint, l4=Py_ssize_t, pushed=bint, header=Py_ssize_t,
        mergeable=bint, tag="unsigned int", bucket=Py_ssize_t, unit=Py_ssize_t,
        first=Py_ssize_t, head=Py_ssize_t,
    )
    cdef void _place(self, Py_ssize_t start, Py_ssize_t size, int version) noexcept

    @cython.locals(addresses=Py_ssize_t, unit=Py_ssize_t)
    cdef void _place_whole(
        self, Py_ssize_t start, Py_ssize_t size, int version, unsigned int segment_size,
        Py_ssize_t segments
    ) noexcept

    @cython.locals(index=Py_ssize_t)
    cdef Py_ssize_t _add_packet(self, Py_ssize_t start, Py_ssize_t size) noexcept

    @cython.locals(index=Py_ssize_t, unit=Py_ssize_t)
    cdef Py_ssize_t _add_unit(
        self, Py_ssize_t start, Py_ssize_t size, Py_ssize_t header
    ) noexcept

    @cython.locals(index=Py_ssize_t)
    cdef bint _append(
        self, Py_ssize_t unit, Py_ssize_t start, Py_ssize_t size, Py_ssize_t header
    ) noexcept

    @cython.locals(data="const unsigned char[::1]", bucket=Py_ssize_t, head=Py_ssize_t)
    cdef Py_ssize_t _find_flow(
        self, unsigned int tag, Py_ssize_t key, Py_ssize_t key_end, int version, int protocol
    ) noexcept

    @cython.locals(bucket=Py_ssize_t, head=Py_ssize_t)
    cdef void _close_flows(self, Py_ssize_t key, Py_ssize_t key_end, int version) noexcept

    @cython.locals(chosen=Py_ssize_t, bucket=Py_ssize_t)
    cdef void _open_flow(self, Py_ssize_t unit, unsigned int tag) noexcept

    @cython.locals(data="const unsigned char[::1]", at=Py_ssize_t)
    cdef bint _same(self, Py_ssize_t other, Py_ssize_t key, Py_ssize_t key_end) noexcept

    @cython.locals(
        data="const unsigned char[::1]", first=Py_ssize_t, head=Py_ssize_t, joined=Py_ssize_t,
        count="unsigned int", l4=Py_ssize_t, other=Py_ssize_t, expected=int,
        sequence="unsigned int",
    )
    cdef bint _continues(
        self, Py_ssize_t unit, Py_ssize_t start, Py_ssize_t size, Py_ssize_t header,
        int version, int protocol
    ) noexcept

    @cython.locals(data="const unsigned char[::1]", high="unsigned int")
    cdef unsigned int _sequence(self, Py_ssize_t tcp) noexcept

    @cython.locals(data="const unsigned char[::1]", l4=Py_ssize_t, pseudo="unsigned int")
    cdef bint _checksums_hold(
        self, Py_ssize_t start, Py_ssize_t size, int version, int protocol
    ) noexcept

    @cython.locals(
        unit="unsigned char[::1]", data="const unsigned char[::1]", first=Py_ssize_t,
        count=Py_ssize_t, start=Py_ssize_t, size=Py_ssize_t, at=Py_ssize_t, header=Py_ssize_t,
        end=Py_ssize_t, packet=Py_ssize_t, _more=Py_ssize_t, source=Py_ssize_t,
        piece=Py_ssize_t, total=Py_ssize_t, ip=Py_ssize_t, ip_header=Py_ssize_t,
        protocol=int, last=Py_ssize_t, segment_size="unsigned int",
    )
    cpdef Py_ssize_t assemble(self, Py_ssize_t index) except -1

    @cython.locals(
        unit="unsigned char[::1]", ip=Py_ssize_t, version=int, ip_header=Py_ssize_t,
        protocol=int, l4=Py_ssize_t, kind=int, header=Py_ssize_t, offset=Py_ssize_t,
    )
    cdef void _write_vnet_header(self, Py_ssize_t size, unsigned int segment_size) noexcept

    cdef void _put16(self, Py_ssize_t at, unsigned int value) noexcept
