cdef class Carriage:
    cdef readonly bint in_stream
    cdef readonly double look_at
    cdef double _looked_at
    cdef long long _bytes
    cdef long long _sent
    cdef long long _lost
    cdef double _fit_since
    cdef double _lossy_since
    cdef double _slow_since
    cdef double _entered_at
    cdef double _refrain_until
    cdef double _retreat
