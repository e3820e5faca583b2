cimport cython

cdef int _SMALLEST
cdef int _FREE
cdef int _HELD
cdef int _LOST
cdef int _NONE


@cython.final
cdef class BodyPool:
    cdef readonly Py_ssize_t stride
    cdef readonly Py_ssize_t capacity
    cdef readonly Py_ssize_t used
    cdef readonly Py_ssize_t lost
    cdef unsigned char[::1] data
    cdef unsigned short[::1] length
    cdef double[::1] deadline
    cdef long long[::1] serial
    cdef long long[::1] latest
    cdef unsigned char[::1] important
    cdef unsigned char[::1] _state
    cdef int[::1] _next_lost
    cdef int[::1] _lost_before
    cdef int[::1] _free
    cdef Py_ssize_t _free_count
    cdef long long _serials
    cdef int _first_lost
    cdef int _last_lost

    cdef _allocate(self, Py_ssize_t capacity)

    @cython.locals(
        old=Py_ssize_t, data="unsigned char[::1]", length="unsigned short[::1]",
        deadline="double[::1]", serial="long long[::1]", latest="long long[::1]",
        important="unsigned char[::1]", state="unsigned char[::1]", next_lost="int[::1]",
        lost_before="int[::1]",
    )
    cdef _grow(self)

    cpdef shrink(self)

    @cython.locals(slot=int)
    cpdef int acquire(self) except -1

    cpdef bint is_current(self, int slot, long long serial) noexcept

    cpdef bint is_held(self, int slot) noexcept

    cpdef void release(self, int slot) noexcept

    cpdef void mark_lost(self, int slot) noexcept

    @cython.locals(slot=int)
    cpdef int pop_lost(self) noexcept

    @cython.locals(before=int, after=int)
    cdef void _unqueue(self, int slot) noexcept
