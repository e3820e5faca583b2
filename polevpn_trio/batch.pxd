cdef class FrameBatch:
    cdef readonly object data
    cdef readonly Py_ssize_t packets
    cdef readonly int sequences


cdef class DatagramBuffer:
    cdef readonly bytearray datagrams
    cdef readonly object sizes
    cdef readonly object view

    cpdef reserve(self, Py_ssize_t size, Py_ssize_t count)
