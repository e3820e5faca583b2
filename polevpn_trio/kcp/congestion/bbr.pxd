cimport cython

from polevpn_trio.kcp.congestion.base cimport AckEvent, CongestionControl
from polevpn_trio.kcp.congestion.base_loss cimport BaseLoss
from polevpn_trio.kcp.congestion.competition cimport Competition
from polevpn_trio.kcp.congestion.windowed_filter cimport WindowedMinimum

cdef int _STARTUP
cdef int _DRAIN
cdef int _DOWN
cdef int _CRUISE
cdef int _UP
cdef int _PROBE_RTT
cdef int _COMPETE
cdef double _STARTUP_GAIN
cdef double _BURST_GAIN
cdef double _DOWN_GAIN
cdef double _MEASURE_GAIN
cdef double _UP_GAIN
cdef double _UP_QUEUE
cdef double _LEAST_UP_GAIN
cdef double _FASTER_GAIN
cdef double _CRUISE_GAIN
cdef double _LEAST_TRIM
cdef double _TRIM_ROUNDS
cdef double _QUEUE_SHARE
cdef double _UP_QUEUE_SHARE
cdef double _STANDING_JITTER
cdef double _QUEUE_JITTER
cdef double _WINDOW_GAIN
cdef int _INITIAL_PACKETS
cdef int _LEAST_PACKETS
cdef int _SLACK_PACKETS
cdef double _SLACK_TIME
cdef double _CRUISE_TIME
cdef double _IDLE_SHARE
cdef int _IDLE_ROUNDS
cdef double _FULL
cdef double _PROBE_RTT_INTERVAL
cdef double _PROBE_RTT_TIME
cdef int _FAR_ROUNDS
cdef double _FAR_TIME
cdef double _LEAST_CUT
cdef double _FURTHER_CUT
cdef double _CUT_TIME
cdef double _CONTRAST_RATE
cdef double _CONTRAST_LOSS
cdef double _LOW_TIME
cdef double _LONGEST_DOWN
cdef double _CALM_TIME
cdef double _COMPETE_LOSS
cdef double _LEAST_RTT
cdef double _NEVER


cdef class Bbr(CongestionControl):
    cdef readonly int phase
    cdef readonly BaseLoss loss
    cdef Competition _competition
    cdef object _chance
    cdef int _packet
    cdef WindowedMinimum _min_rtt
    cdef WindowedMinimum _min_delay
    cdef double _near_min_at
    cdef int _far_rounds
    cdef double _queue
    cdef double _part_queue
    cdef double _part_end
    cdef double _last_delay
    cdef double _jitter
    cdef double _rate_now
    cdef double _rate_before
    cdef double _ceiling
    cdef int _cuts
    cdef double _cut_at
    cdef double _ceiling_before
    cdef double _rate_at_cut
    cdef double _loss_at_cut
    cdef double _full_rate
    cdef int _full_rounds
    cdef double _cruise_gain
    cdef bint _limited
    cdef bint _spreading
    cdef bint _cut_at_average
    cdef long long _round_end
    cdef long long _rounds
    cdef double _round_rate
    cdef bint _round_limited
    cdef double _round_queue
    cdef double _round_rtt
    cdef double _round_pacing
    cdef double _pacing_before
    cdef double _smooth_rate
    cdef double _smooth_at
    cdef double _phase_at
    cdef int _phase_rounds
    cdef double _phase_rate
    cdef double _phase_rate_before
    cdef double _queue_before
    cdef double _probe_up_at
    cdef double _probe_rtt_done
    cdef double _probed_rtt
    cdef double _probed_delay
    cdef double _probed_at
    cdef bint _learned

    @cython.locals(best=double)
    cpdef double rate(self) noexcept

    @cython.locals(others=double)
    cpdef double least_rtt(self) noexcept

    @cython.locals(rate=double, unused=double)
    cpdef double headroom(self) noexcept

    @cython.locals(now=double, lost="long long", sent="long long")
    cpdef take_event(self, AckEvent event)

    @cython.locals(fall=double, queue=double, part=double)
    cdef void _take_queue(self, double delay, double now) noexcept

    @cython.locals(limit=double, rate=double)
    cdef double _queue_limit(self, double share, double least) noexcept

    cdef bint _has_risen(self, double share, double least) noexcept

    @cython.locals(weight=double)
    cdef void _take_rate(self, double sample, bint limited, double now) noexcept

    @cython.locals(rate=double, ceiling=double)
    cdef void _cut(self, double now) noexcept

    @cython.locals(rate=double)
    cdef void _judge_cut(self, double now) noexcept

    cdef void _raise_ceiling(self) noexcept

    @cython.locals(
        now=double, queue=double, min_rtt=double, phase=int,
        gain=double, idle=bint, far=bint,
    )
    cdef _end_round(self, AckEvent event)

    @cython.locals(competition=Competition, calm=bint)
    cdef _end_round_of_compete(self, double queue, AckEvent event)

    cdef void _look_at_loss_when_low(self, double now) noexcept

    cdef void _end_round_of_startup(self, double queue, double now) noexcept

    @cython.locals(rate=double, packets=double)
    cdef double _standing_queue(self) noexcept

    cdef double _noise(self) noexcept

    cdef void _slow_down(self) noexcept

    @cython.locals(limit=double, sent=double)
    cdef bint _is_slower(self, double queue) noexcept

    cdef _watch_up(self, AckEvent event)

    cdef _enter(self, int phase, AckEvent event)

    @cython.locals(now=double, learned=bint, drained=bint)
    cdef _advance(self, AckEvent event)

    @cython.locals(far=bint)
    cdef bint _is_far(self, double now) noexcept

    cdef _begin_probe_rtt(self, AckEvent event)

    @cython.locals(now=double, queue=double, stands=bint)
    cdef _probe_rtt(self, AckEvent event)

    cdef double _sending_rate(self) noexcept

    cdef double _in_flight_for(self, double gain) noexcept

    @cython.locals(rate=double, phase=int, window=double, gain=double, pacing=double, least=double)
    cdef _set_limits(self, AckEvent event)
