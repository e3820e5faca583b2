import cython

cdef bint _INTERPRETED
cdef bint _LITTLE_ENDIAN
cdef Py_ssize_t _BLOCK_SIZE
cdef unsigned char[::1] _BLOCK
cdef unsigned long long[::1] _WORDS
cdef int _TCP
cdef int _SYN
cdef int _OPTION_END
cdef int _OPTION_NOP
cdef int _OPTION_MSS


@cython.locals(version=int, header=Py_ssize_t, total=Py_ssize_t)
cpdef int is_well_formed(
    const unsigned char[::1] view, Py_ssize_t start, Py_ssize_t length
) noexcept


cpdef unsigned int fold(unsigned long long total) noexcept


@cython.locals(
    block="unsigned char[::1]", words="unsigned long long[::1]", mask="unsigned long long",
    low="unsigned long long", high="unsigned long long", word="unsigned long long",
    size=Py_ssize_t, whole=Py_ssize_t, at=Py_ssize_t, folded="unsigned int",
)
cpdef unsigned int sum_words(
    const unsigned char[::1] view, Py_ssize_t start, Py_ssize_t end
) noexcept


@cython.locals(addresses="unsigned int")
cpdef unsigned int sum_pseudo_header(
    const unsigned char[::1] view, Py_ssize_t start, int version, int protocol,
    Py_ssize_t length
) noexcept


@cython.locals(
    version=int, total=Py_ssize_t, header=Py_ssize_t, offset=int, limit=int, tcp=Py_ssize_t,
    end=Py_ssize_t, at=Py_ssize_t, kind=int, size=int, old=int, new=int,
    checksum="unsigned int",
)
cpdef bint clamp_mss(
    unsigned char[::1] buffer, Py_ssize_t start, Py_ssize_t length, int mss4, int mss6
) noexcept
