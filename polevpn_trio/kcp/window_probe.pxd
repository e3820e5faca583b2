cimport cython

from polevpn_trio.kcp.round_trip cimport RoundTrip
from polevpn_trio.kcp.segment cimport SegmentHeader

cdef double _FIRST_PROBE
cdef double _PROBE_GROWTH
cdef double _LAST_PROBE
cdef double _NEVER
cdef long long _MASK32
cdef long long _HALF


@cython.final
cdef class WindowProbe:
    cdef readonly long long sent
    cdef double _window_due
    cdef double _window_wait
    cdef double _life_due
    cdef readonly long long in_vain
    cdef long long _measured
    cdef long long _echo

    cpdef double next_due(self, bint waits) noexcept

    cpdef void note_window(self, long long window, long long before, double now) noexcept

    cpdef void ask(self, double now) noexcept

    cpdef void write_question(
        self, SegmentHeader header, RoundTrip round_trip, double now
    ) noexcept

    cpdef void write_answer(self, SegmentHeader header) noexcept

    cpdef void take_question_untrusted(self, SegmentHeader header, RoundTrip round_trip) noexcept

    @cython.locals(elapsed="long long")
    cpdef void take_answer_untrusted(
        self, SegmentHeader header, long long milliseconds, RoundTrip round_trip
    ) noexcept
