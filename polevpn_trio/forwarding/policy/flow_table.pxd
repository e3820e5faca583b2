cimport cython

cdef Py_ssize_t _WAYS
cdef Py_ssize_t _WORDS
cdef Py_ssize_t _EXPIRES
cdef Py_ssize_t _STATE
cdef unsigned long long _MASK64
cdef unsigned long long _LOW32
cdef Py_ssize_t _NOWHERE
cdef unsigned long long _ANSWERED
cdef unsigned long long _ANSWERED_BONUS


@cython.final
cdef class FlowTable:
    cdef readonly unsigned long long[::1] entry
    cdef readonly Py_ssize_t capacity
    cdef readonly unsigned long long evicted
    cdef unsigned long long[::1] _factor
    cdef unsigned long long _bucket_mask
    cdef Py_ssize_t _last

    @cython.locals(at=Py_ssize_t, _=Py_ssize_t)
    cpdef Py_ssize_t find(
        self, unsigned long long key_0, unsigned long long key_1, unsigned long long key_2,
        unsigned long long key_3, unsigned long long key_4, unsigned long long now
    ) noexcept

    @cython.locals(
        at=Py_ssize_t, taken=Py_ssize_t,
        least="unsigned long long", rank="unsigned long long", _=Py_ssize_t,
    )
    cpdef Py_ssize_t insert(
        self, unsigned long long key_0, unsigned long long key_1, unsigned long long key_2,
        unsigned long long key_3, unsigned long long key_4, unsigned long long now
    ) noexcept

    @cython.locals(count=Py_ssize_t, at=Py_ssize_t, _=Py_ssize_t)
    cpdef Py_ssize_t in_use(self, unsigned long long now) noexcept

    cdef bint _is(
        self, Py_ssize_t at, unsigned long long key_0, unsigned long long key_1,
        unsigned long long key_2, unsigned long long key_3, unsigned long long key_4
    ) noexcept

    @cython.locals(total="unsigned long long")
    cdef Py_ssize_t _bucket(
        self, unsigned long long key_0, unsigned long long key_1, unsigned long long key_2,
        unsigned long long key_3, unsigned long long key_4
    ) noexcept
