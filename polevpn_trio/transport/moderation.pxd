cdef class Moderation:
    cdef double _spacing
    cdef double _spacing_until
    cdef double _theoretical

    cpdef note_path(self, double rtt, double now)

    cpdef double look(self, double now) except *
