cimport cython

from polevpn_trio.forwarding.flow_queue cimport FlowQueue
from polevpn_trio.kcp.congestion.bbr cimport Bbr
from polevpn_trio.kcp.datagram.conversation cimport DatagramConversation


cdef class _Parts:
    cdef readonly Bbr control
    cdef readonly DatagramConversation conversation
    cdef readonly object repair


cdef class PacketChannel:
    cdef object _offered
    cdef readonly FlowQueue _queue
    cdef object _seed
    cdef object _terms
    cdef object _output
    cdef _Parts _parts
    cdef readonly bint at_rest
    cdef double _used_at
    cdef int _repairs
    cdef readonly object datagrams
    cdef readonly object sizes

    cdef _Parts _rouse(self)

    cpdef enqueue(self, frames, double now)

    @cython.locals(parts=_Parts, conversation=DatagramConversation, count=Py_ssize_t)
    cpdef Py_ssize_t poll_datagrams(self, double now) except -1

    @cython.locals(conversation=DatagramConversation, count=Py_ssize_t)
    cdef Py_ssize_t _poll_repairs(self, _Parts parts, repair, double now) except -1

    cpdef double least_rtt(self) except *

    cpdef bytes take_oversize(self)

    @cython.locals(parts=_Parts, due=double)
    cpdef double next_timeout(self) except *

    @cython.locals(
        parts=_Parts, conversation=DatagramConversation, others=Py_ssize_t, recovered=Py_ssize_t
    )
    cpdef Py_ssize_t receive_datagrams_untrusted(
        self, datagrams, sizes, Py_ssize_t count, double now
    ) except -1

    cpdef receive(self)
