cimport cython

from polevpn_trio.frames.ip cimport is_well_formed

cdef int _FRAGMENT
cdef int _HOP_BY_HOP
cdef int _ROUTING
cdef int _DESTINATION_OPTIONS
cdef int _TCP
cdef int _UDP
cdef int _DCCP
cdef int _ESP
cdef int _SCTP
cdef int _UDP_LITE
cdef int _MOST_EXTENSIONS
cdef unsigned long long _MASK64


@cython.final
cdef class FlowHash:
    cdef unsigned long long[::1] _factor

    @cython.locals(
        version=int, factor="unsigned long long[::1]", total="unsigned long long",
        has_ports=bint, end=Py_ssize_t, protocol="unsigned int", at=Py_ssize_t,
        index=Py_ssize_t, extensions=int,
    )
    cpdef unsigned int of_packet(
        self, const unsigned char[::1] view, Py_ssize_t start, Py_ssize_t length
    ) noexcept


cdef bint _begins_with_ports(unsigned int protocol) noexcept


@cython.locals(high="unsigned int")
cdef unsigned long long _word(const unsigned char[::1] view, Py_ssize_t at) noexcept
