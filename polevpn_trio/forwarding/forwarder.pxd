cimport cython

from polevpn_trio.forwarding.source_filter cimport SourceFilter


cdef class _Holdings:
    cdef readonly SourceFilter sources
    cdef public bint checked
    cdef public bint retired
    cdef readonly set gateways
    cdef readonly set networks


cdef class Forwarder:
    cdef public bint source_check
    cdef public object guard
    cdef dict _holdings
    cdef dict _names
    cdef Py_ssize_t _generation
    cdef dict _gateways
    cdef object _networks
    cdef readonly dict _cache
    cdef object _segmenter
    cdef long long _forwarded
    cdef long long _no_route
    cdef long long _unregistered
    cdef long long _spoofed
    cdef long long _martian
    cdef long long _denied
    cdef long long _hairpin
    cdef long long _not_ipv4
    cdef long long _queue_full

    cdef _Holdings _holdings_of(self, peer)

    cpdef int judge_source(self, sender, bytes source) except -1

    cdef tuple _find(self, bytes destination)

    @cython.locals(
        reached=dict, holdings=_Holdings, checked=bint, found=tuple, is_gateway=bint,
        packets=Py_ssize_t,
    )
    cpdef route_batch(self, runs, sender, double now=*)

    @cython.locals(sources=SourceFilter, kept=Py_ssize_t)
    cdef bint _keep_own(self, run, sender, _Holdings holdings) except -1

    @cython.locals(denied=Py_ssize_t)
    cdef bint _keep_allowed(self, guard, run, sender, peer, double now) except -1
