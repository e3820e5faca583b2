cimport cython

cdef int _SITE
cdef int _WORDS


@cython.final
cdef class RuleTable:
    cdef readonly int count
    cdef dict _sites
    cdef unsigned char[::1] _allows
    cdef unsigned long long[::1] _protocols
    cdef int[::1] _first_party
    cdef int[::1] _first_port
    cdef int[::1] _version
    cdef int[::1] _number
    cdef unsigned long long[::1] _high
    cdef unsigned long long[::1] _low
    cdef unsigned long long[::1] _mask_high
    cdef unsigned long long[::1] _mask_low
    cdef int[::1] _low_port
    cdef int[::1] _high_port

    cpdef bint allows(self, int rule) noexcept

    @cython.locals(rule=int, first=int, last=int)
    cpdef int decide(
        self, int origin, int target, int version,
        unsigned long long source_high, unsigned long long source_low,
        unsigned long long destination_high, unsigned long long destination_low,
        int protocol, int port
    ) noexcept

    @cython.locals(index=int)
    cdef bint _has_port(self, int first, int last, int port) noexcept

    @cython.locals(index=int)
    cdef bint _has_party(
        self, int first, int last, int site, int version, unsigned long long high,
        unsigned long long low
    ) noexcept
