cimport cython

cdef double _NEVER
cdef int _LAST_BUCKET


@cython.final
cdef class Path:
    cdef readonly long long packets_in
    cdef readonly long long bytes_in
    cdef readonly long long packets_out
    cdef readonly long long bytes_out
    cdef readonly long long lost_outage
    cdef readonly long long lost_policer
    cdef readonly long long lost_knee
    cdef readonly long long lost_queue
    cdef readonly long long lost_random
    cdef readonly long long lost_bursts
    cdef readonly long long duplicated
    cdef readonly long long overtaken
    cdef object _random
    cdef list _on_the_way
    cdef long long _number
    cdef double _last_due
    cdef double _start
    # The bottleneck.
    cdef bint _has_rate
    cdef double[::1] _rates
    cdef double[::1] _ends
    cdef Py_ssize_t _step
    cdef double _backlog
    cdef double _served_until
    cdef double _limit_bits
    cdef double _high_water_bits
    cdef double _high_water_seconds
    # What happens to packets.
    cdef Py_ssize_t _framing
    cdef double _delay
    cdef double _jitter
    cdef bint _reorder
    cdef double _loss
    cdef double _duplicate
    cdef bint _has_bursts
    cdef bint _is_bad
    cdef double _to_bad
    cdef double _to_good
    cdef double _loss_good
    cdef double _loss_bad
    cdef double _outage_first
    cdef double _outage_period
    cdef double _outage_length
    cdef bint _has_policer
    cdef double _token_rate
    cdef double _token_limit
    cdef double _tokens
    cdef double _tokens_at
    cdef Py_ssize_t _knee_points
    cdef double[::1] _knee_rates
    cdef double[::1] _knee_losses
    cdef double _knee_average
    cdef double _offered
    cdef double _offered_at
    cdef long long[::1] _late

    cpdef change(self, conditions, double now)

    cpdef restart(self, double now)

    cdef double _draw(self) except? -1.0

    @cython.locals(size=Py_ssize_t, bits=double, sent=double)
    cpdef receive_packets(self, list packets, double now)

    @cython.locals(since=double, periods=double)
    cdef bint _is_out(self, double now) except? True

    @cython.locals(tokens=double, enough=bint)
    cdef bint _has_tokens(self, double bits, double now) noexcept

    @cython.locals(age=double, above=Py_ssize_t, low=double, left=double, offered=double, share=double)
    cdef double _loss_at_knee(self, double bits, double now) except? -1.0

    @cython.locals(loss=double)
    cdef bint _is_lost_in_burst(self) except? True

    @cython.locals(end=double)
    cdef void _serve(self, double now) noexcept

    @cython.locals(left=double, at=double, step=Py_ssize_t, rate=double, end=double)
    cdef double _transmit(self, double bits, double now) noexcept

    @cython.locals(due=double)
    cdef _carry(self, packet, double sent)

    cpdef double poll_timeout(self) except? -1.0

    @cython.locals(due=double, packets=list)
    cpdef list poll_packets(self, double now)

    @cython.locals(bucket=int, bound=double)
    cdef void _note_lateness(self, double seconds) noexcept

    cpdef statistics(self)
