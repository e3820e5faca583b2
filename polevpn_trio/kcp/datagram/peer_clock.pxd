cimport cython

from polevpn_trio.kcp.congestion.windowed_filter cimport WindowedMinimum
from polevpn_trio.kcp.datagram.wire cimport expand

cdef double _TICKS
cdef long long _WRAP


@cython.final
cdef class PeerClock:
    cdef readonly double one_way
    cdef readonly double arrived_at
    cdef long long _base
    cdef WindowedMinimum _way_back

    @cython.locals(ticks="long long")
    cpdef void read(self, long long received_at, double sent_at, double rtt, double now) noexcept
