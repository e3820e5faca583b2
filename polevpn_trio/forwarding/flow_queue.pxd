cimport cython

from polevpn_trio.frames.flow_hash cimport FlowHash

cdef Py_ssize_t _BLOCK
cdef Py_ssize_t _FRAME_HEADER
cdef double _RECENT_INTERVALS
cdef int _PATIENT_DROPS
cdef double _DELAY_GAIN
cdef int _NONE
cdef double _NEVER
cdef int _IDLE
cdef int _NEW
cdef int _OLD
cdef bint _INTERPRETED


@cython.final
cdef class FlowQueue:
    cdef FlowHash _hash
    cdef Py_ssize_t _limit
    cdef Py_ssize_t _flows
    cdef int _quantum
    cdef bint _ecn
    cdef double _target
    cdef double _interval
    cdef double _tuned_for
    cdef double _used_at
    cdef double _delay
    cdef Py_ssize_t _packets
    cdef Py_ssize_t _bytes
    cdef Py_ssize_t _active
    cdef unsigned long long _enqueued
    cdef unsigned long long _enqueued_bytes
    cdef unsigned long long _dequeued
    cdef unsigned long long _dequeued_bytes
    cdef unsigned long long _dropped_full
    cdef unsigned long long _dropped_codel
    cdef unsigned long long _marked
    cdef unsigned long long _oversize
    cdef unsigned long long _malformed
    cdef unsigned long long _new_flows
    cdef Py_ssize_t _capacity
    cdef Py_ssize_t _free
    cdef Py_ssize_t _free_blocks
    cdef unsigned char[::1] _slab
    cdef int[::1] _next_block
    cdef int[::1] _next_packet
    cdef int[::1] _size
    cdef double[::1] _queued_at
    cdef object _output_object
    cdef unsigned char[::1] _output
    cdef Py_ssize_t _output_size
    cdef int[::1] _head
    cdef int[::1] _tail
    cdef long long[::1] _flow_bytes
    cdef int[::1] _deficit
    cdef unsigned char[::1] _place
    cdef int[::1] _next_flow
    cdef int _new_first
    cdef int _new_last
    cdef int _old_first
    cdef int _old_last
    cdef int[::1] _blocks
    cdef int[::1] _before
    cdef int[::1] _behind
    cdef int[::1] _holding
    cdef Py_ssize_t _most_blocks
    cdef double[::1] _drop_after
    cdef double[::1] _drop_next
    cdef unsigned int[::1] _count
    cdef unsigned int[::1] _last_count
    cdef unsigned char[::1] _dropping

    cpdef tune(self, double target, double interval)
    cpdef follow_path(self, double rtt)

    cpdef release_idle(self, double now)

    cdef _allocate_nothing(self)
    cdef _forget_flows(self)

    cdef _allocate_flows(self, Py_ssize_t flows, Py_ssize_t limit)

    cdef int _grow(self) except -1

    @cython.locals(
        view="const unsigned char[::1]", total=Py_ssize_t, at=Py_ssize_t, count=Py_ssize_t,
        size=Py_ssize_t,
    )
    cpdef Py_ssize_t enqueue_batch(self, frames, double now) except -1

    @cython.locals(needed=Py_ssize_t, packet=int, flow="unsigned int")
    cdef void _enqueue(
        self, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t size, double now
    ) except *

    @cython.locals(
        slab="unsigned char[::1]", links="int[::1]", first=int, block=int, target=Py_ssize_t,
        piece=Py_ssize_t, index=Py_ssize_t,
    )
    cdef int _store(
        self, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t size, Py_ssize_t needed
    ) noexcept

    cdef void _drop_fattest(self) noexcept

    @cython.locals(
        written=Py_ssize_t, count=Py_ssize_t, flow=int, place=int, packet=int, size=Py_ssize_t,
    )
    cpdef object dequeue_batch(self, Py_ssize_t most_bytes, double now)

    cdef int _widen_output(self, Py_ssize_t used, Py_ssize_t needed) except -1

    @cython.locals(
        slab="unsigned char[::1]", output="unsigned char[::1]", block=int, source=Py_ssize_t,
        piece=Py_ssize_t, index=Py_ssize_t,
    )
    cdef void _load(self, int packet, Py_ssize_t size, Py_ssize_t at) noexcept

    @cython.locals(too_long=bint, since="unsigned int", recent=bint)
    cdef bint _admit(self, int flow, double now) noexcept

    @cython.locals(step=double, answer=double)
    cdef double _step(self, int flow, double now) noexcept

    @cython.locals(packet=int)
    cdef bint _stands_too_long(self, int flow, double now) noexcept

    @cython.locals(
        slab="unsigned char[::1]", packet=int, size=Py_ssize_t, at=Py_ssize_t, version=int,
        old="unsigned int", new="unsigned int", checksum="unsigned int",
    )
    cdef bint _mark(self, int flow) noexcept

    @cython.locals(packet=int, size=Py_ssize_t, links="int[::1]", freed=Py_ssize_t, last=int)
    cdef void _remove_head(self, int flow) noexcept

    @cython.locals(before=int, behind=int)
    cdef void _hold(self, int flow, Py_ssize_t blocks) noexcept

    cdef void _append(self, int flow, int place) noexcept

    cdef void _take_first(self, int place) noexcept
