cimport cython

from polevpn_trio.forwarding.flow_queue cimport FlowQueue


cdef class OutgoingQueue:
    cdef FlowQueue _flows
    cdef list _control
    cdef long long _packets
    cdef long long _bytes
    cdef long long _dropped_control
    cdef public bint held
    cdef double _stalled_since

    cdef bint _waiting(self) except -1

    cpdef note_bypass(self, batch)

    cpdef put_nowait(self, batch, double now)

    cpdef _put(self, batch, double now)

    cpdef bint put_control_nowait(self, frame, double now) except -1

    cdef _note_waiting(self, double now)

    @cython.locals(taken=list)
    cpdef list take(self, Py_ssize_t most_bytes, double now)

    cpdef follow_path(self, double rtt)
