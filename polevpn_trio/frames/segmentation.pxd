import cython

from polevpn_trio cimport raw_copy
from polevpn_trio.frames.ip cimport fold, is_well_formed, sum_pseudo_header, sum_words

cdef Py_ssize_t _MAX_SEGMENTS
cdef Py_ssize_t _FRAME_HEADER
cdef Py_ssize_t _LARGEST_FRAME
cdef int _TCP
cdef int _UDP
cdef int _TCP_CHECKSUM
cdef int _UDP_CHECKSUM
cdef int _FIN
cdef int _PSH
cdef int _CWR
cdef int _FLAGS_OF_LONERS
cdef int _LAST_OF_RUN
cdef unsigned int _MASK32
cdef Py_ssize_t _CAPACITY
cdef Py_ssize_t _WORTH_HANDING_OVER


@cython.locals(
    version=int, transport=Py_ssize_t, protocol=int, l4=Py_ssize_t, header=Py_ssize_t,
    payload=Py_ssize_t, segments=Py_ssize_t,
)
cpdef Py_ssize_t segments_in(
    const unsigned char[::1] view, Py_ssize_t start, Py_ssize_t length,
    unsigned int segment_size
) noexcept


@cython.locals(sequence="unsigned int")
cpdef unsigned int sequence_of(const unsigned char[::1] view, Py_ssize_t frame) noexcept


@cython.locals(
    view="const unsigned char[::1]", total=Py_ssize_t, at=Py_ssize_t, length=Py_ssize_t,
    start=Py_ssize_t, protocol=int,
)
cpdef bint holds_super_packets(data, bint tcp, bint udp) except -1


@cython.locals(
    view="unsigned char[::1]", total=Py_ssize_t, at=Py_ssize_t, length=Py_ssize_t,
)
cpdef clear_sequences(data)


cdef class Segmenter:
    cdef object _storage_view
    cdef unsigned char[::1] _out
    cdef Py_ssize_t _capacity
    cdef readonly Py_ssize_t end
    cdef readonly Py_ssize_t frames
    cdef readonly Py_ssize_t packets
    cdef readonly unsigned long long super_packets
    cdef readonly unsigned long long malformed

    @cython.locals(
        view="const unsigned char[::1]", total=Py_ssize_t, at=Py_ssize_t, length=Py_ssize_t,
        start=Py_ssize_t, size=Py_ssize_t, command="unsigned int", segment_size="unsigned int",
        segments=Py_ssize_t, version=int, transport=Py_ssize_t, protocol=int,
        pseudo="unsigned int",
    )
    cpdef segment_batch_untrusted(self, data, bint tcp=*, bint udp=*)

    cpdef take(self)

    cdef int _reserve(self, Py_ssize_t capacity) except -1

    cdef int _grow(self, Py_ssize_t needed) except -1

    @cython.locals(out="unsigned char[::1]", at=Py_ssize_t)
    cdef Py_ssize_t _begin_frame(
        self, Py_ssize_t length, unsigned int command, unsigned int sequence
    ) noexcept

    @cython.locals(at=Py_ssize_t)
    cdef int _append_packet(
        self, const unsigned char[::1] data, Py_ssize_t start, Py_ssize_t size,
        unsigned int command, unsigned int sequence, Py_ssize_t packets
    ) except -1

    @cython.locals(
        out="unsigned char[::1]", tcp=bint, ip_header=Py_ssize_t, l4=Py_ssize_t,
        header=Py_ssize_t, payload=Py_ssize_t, segments=Py_ssize_t, longest=Py_ssize_t,
        needed=Py_ssize_t, ip_sum="unsigned long long", identification="unsigned int",
        field=Py_ssize_t, sequence="unsigned int", flags=int, l4_sum="unsigned long long",
        source=Py_ssize_t, segment=Py_ssize_t, piece=Py_ssize_t, length=Py_ssize_t,
        at=Py_ssize_t, total="unsigned long long", mine=int, checksum="unsigned int",
    )
    cdef Py_ssize_t _cut(
        self, const unsigned char[::1] data, Py_ssize_t ip, Py_ssize_t size, int version,
        int protocol, Py_ssize_t transport, unsigned int segment_size, unsigned int pseudo,
        unsigned int command
    ) except -1

    cdef void _put16(self, Py_ssize_t at, unsigned int value) noexcept
