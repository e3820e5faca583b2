cdef class Link:
    cdef public object identity
    cdef public object _closed
    cdef public bint admitted
    cdef public double heard
    cdef public object scheme
    cdef public object peer
