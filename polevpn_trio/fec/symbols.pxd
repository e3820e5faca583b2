cimport cython

cdef unsigned int _SPREAD_KEY
cdef unsigned int _SPREAD_ID
cdef unsigned int _MIX_1
cdef unsigned int _MIX_2
cdef unsigned int _MASK32
cdef long long _MASK24
cdef long long _HALF24
cdef long long _TURN24


@cython.locals(mixed="unsigned int")
cpdef unsigned int coefficient(
    unsigned int key, unsigned int symbol_id, unsigned int density
) noexcept


@cython.locals(ahead="long long")
cpdef long long unwrap(long long symbol_id, long long near) noexcept
