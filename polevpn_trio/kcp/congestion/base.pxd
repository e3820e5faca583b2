cimport cython

cdef double _INFINITE


@cython.final
cdef class AckEvent:
    cdef public double now
    cdef public double rtt
    cdef public double one_way
    cdef public double arrived_at
    cdef public double rate
    cdef public bint app_limited
    cdef public long long newest
    cdef public long long sent_delivered
    cdef public long long delivered
    cdef public long long new_bytes
    cdef public long long new_packets
    cdef public long long lost_bytes
    cdef public long long lost_packets
    cdef public long long lost_runs
    cdef public long long recovered_packets
    cdef public long long recovered_runs
    cdef public long long spurious_packets
    cdef public long long in_flight

    cpdef void clear(self, double now) noexcept


cdef class CongestionControl:
    cdef readonly long long window
    cdef readonly double pacing_rate

    cpdef take_event(self, AckEvent event)
