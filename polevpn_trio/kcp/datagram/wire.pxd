cimport cython

cdef int _ACK_HEADER
cdef int _MOST_RUNS
cdef int _LONGEST
cdef long long _WRAP


@cython.locals(ahead="long long")
cpdef long long expand(long long low, long long wrap, long long near) noexcept


@cython.final
cdef class Acknowledgement:
    cdef public long long largest
    cdef public int delay
    cdef public int received_at
    cdef public int reordering
    cdef public int arrived
    cdef public int recovered
    cdef public int gaps
    cdef public int runs
    cdef long long[::1] newest
    cdef long long[::1] oldest

    cpdef bint add_run(self, long long newest, long long oldest) noexcept

    @cython.locals(index=int)
    cpdef Py_ssize_t write(self, unsigned char[::1] buffer, Py_ssize_t at) noexcept

    @cython.locals(back="long long", index=int, step=int, value=int)
    cpdef Py_ssize_t read_untrusted(
        self, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t end
    ) noexcept


cpdef int read16(const unsigned char[::1] view, Py_ssize_t at) noexcept

cpdef int read24(const unsigned char[::1] view, Py_ssize_t at) noexcept

cpdef void write16(unsigned char[::1] buffer, Py_ssize_t at, long long value) noexcept

cpdef void write24(unsigned char[::1] buffer, Py_ssize_t at, long long value) noexcept

cdef Py_ssize_t _write_short(unsigned char[::1] buffer, Py_ssize_t at, long long value) noexcept
