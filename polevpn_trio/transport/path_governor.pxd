cdef class PathGovernor:
    cdef readonly double limit
    cdef public double due
    cdef public bint restart
    cdef bint _limited
    cdef int _phase
    cdef long long _rounds
    cdef double _looked_at
    cdef object _last
    cdef double _loss
    cdef double _capacity
    cdef double _queue_before
    cdef double _cruising_since
    cdef double _drain_until
    cdef double _give_way_until
    cdef double _give_way

    cpdef bint look(self, sample, double now) except -1

    cdef _note_loss(self, long long sent, long long resent)

    cdef _end_round(self, sample, double rate, double now)

    cdef _start_drain(self, sample, double queue, double rate, double now)

    cdef double _up_gain(self, sample, double standing) except *

    cdef _enter(self, int phase)

    cdef _free(self)

    cdef _begin_anew(self)

    cdef _allow(self, double gain)
