cimport cython

from polevpn_trio.frames.ip cimport is_well_formed

cdef int _UNREADABLE
cdef int _WHOLE
cdef int _LATER_FRAGMENT
cdef int _ERROR
cdef int _SYN
cdef int _ACK
cdef int _HOP_BY_HOP
cdef int _ICMP
cdef int _TCP
cdef int _UDP
cdef int _ROUTING
cdef int _FRAGMENT
cdef int _ICMPV6
cdef int _DESTINATION_OPTIONS
cdef int _SCTP
cdef int _MOST_EXTENSIONS
cdef int _PROTOCOL_SHIFT
cdef unsigned long long _IPV6
cdef unsigned long long _FRAGMENTS
cdef unsigned long long _MESSAGE
cdef int _NO_PORT


@cython.final
cdef class PacketHeaders:
    cdef readonly int kind
    cdef readonly int version
    cdef readonly int protocol
    cdef readonly unsigned long long source_high
    cdef readonly unsigned long long source_low
    cdef readonly unsigned long long destination_high
    cdef readonly unsigned long long destination_low
    cdef readonly int port
    cdef readonly int back_port
    cdef readonly int flags
    cdef readonly bint opens
    cdef readonly bint begins_fragments
    cdef readonly unsigned long long identification
    cdef readonly unsigned long long key_0
    cdef readonly unsigned long long key_1
    cdef readonly unsigned long long key_2
    cdef readonly unsigned long long key_3
    cdef readonly unsigned long long key_4
    cdef readonly bint turned
    cdef Py_ssize_t _quoted
    cdef Py_ssize_t _end

    @cython.locals(version=int, end=Py_ssize_t)
    cpdef int read_untrusted(
        self, const unsigned char[::1] view, Py_ssize_t start, Py_ssize_t length
    ) noexcept

    @cython.locals(start=Py_ssize_t, end=Py_ssize_t)
    cpdef int read_quoted_untrusted(
        self, const unsigned char[::1] view, PacketHeaders error
    ) noexcept

    @cython.locals(offset=int, protocol=int, at=Py_ssize_t)
    cdef void _read_ipv4(
        self, const unsigned char[::1] view, Py_ssize_t start, Py_ssize_t end, bint quoted
    ) noexcept

    @cython.locals(protocol=int, at=Py_ssize_t, extensions=int, fragment=int)
    cdef void _read_ipv6(
        self, const unsigned char[::1] view, Py_ssize_t start, Py_ssize_t end, bint quoted
    ) noexcept

    @cython.locals(
        protocol=int, extra="unsigned long long", first="unsigned long long",
        second="unsigned long long", message=int, turned=bint,
    )
    cdef void _read_transport(
        self, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t end, bint quoted
    ) noexcept

    @cython.locals(extra="unsigned long long")
    cpdef void become_fragments(self) noexcept


cdef bint _is_error(int version, int message) noexcept


@cython.locals(high="unsigned int")
cdef unsigned long long _word(const unsigned char[::1] view, Py_ssize_t at) noexcept
