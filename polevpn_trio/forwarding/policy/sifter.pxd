cimport cython

from polevpn_trio.forwarding.policy.flow_table cimport FlowTable
from polevpn_trio.forwarding.policy.headers cimport PacketHeaders
from polevpn_trio.forwarding.policy.rule_table cimport RuleTable
from polevpn_trio.frames.segmentation cimport segments_in, sequence_of

cdef bint _INTERPRETED
cdef unsigned long long _TCP_ESTABLISHED
cdef unsigned long long _TCP_TRANSITORY
cdef unsigned long long _UDP_ANSWERED
cdef unsigned long long _UDP_UNANSWERED
cdef unsigned long long _ICMP_LIFE
cdef unsigned long long _OTHER_LIFE
cdef unsigned long long _FRAGMENTS_LIFE
cdef int _ERROR
cdef int _LATER_FRAGMENT
cdef int _WHOLE
cdef int _FIN
cdef int _SYN
cdef int _RST
cdef int _ACK
cdef int _OFFLOAD
cdef Py_ssize_t _FRAME_HEADER
cdef int _ICMP
cdef int _TCP
cdef int _UDP
cdef int _ICMPV6
cdef Py_ssize_t _EXPIRES
cdef Py_ssize_t _STATE
cdef Py_ssize_t _SITES
cdef unsigned long long _ANSWERED
cdef unsigned long long _TURNED
cdef unsigned long long _OPENER_CLOSED
cdef unsigned long long _OTHER_CLOSED
cdef unsigned long long _CLOSED
cdef int _GENERATION_SHIFT
cdef int _SITE_SHIFT
cdef int _PASSES


@cython.final
cdef class Sifter:
    cdef readonly FlowTable flows
    cdef readonly PacketHeaders headers
    cdef PacketHeaders _headers
    cdef PacketHeaders _quoted
    cdef RuleTable _rules
    cdef unsigned long long _generation
    cdef unsigned long long _resume_until
    cdef readonly Py_ssize_t denied
    cdef readonly int denied_by
    cdef readonly unsigned long long[::1] denials
    cdef readonly unsigned long long[::1] openings

    @cython.locals(
        view="unsigned char[::1]", total=Py_ssize_t, at=Py_ssize_t, kept=Py_ssize_t,
        size=Py_ssize_t, counter=int,
    )
    cpdef Py_ssize_t sift_untrusted(
        self, data, int sequences, unsigned long long origin, unsigned long long target,
        unsigned long long now
    ) except -1

    @cython.locals(start=Py_ssize_t, packets=Py_ssize_t, sequence="unsigned int")
    cdef int _deny(
        self, unsigned char[::1] view, Py_ssize_t at, Py_ssize_t size, int sequences,
        int counter
    ) except -1

    @cython.locals(
        headers=PacketHeaders, quoted=PacketHeaders, unrelated=int, counter=int, at=Py_ssize_t,
    )
    cdef int _judge(
        self, unsigned char[::1] view, unsigned long long origin, unsigned long long target,
        unsigned long long now
    ) noexcept

    cdef Py_ssize_t _find(self, PacketHeaders headers, unsigned long long now) noexcept

    cdef Py_ssize_t _insert(self, PacketHeaders headers, unsigned long long now) noexcept

    @cython.locals(headers=PacketHeaders, at=Py_ssize_t, rule=int, opening=int)
    cdef int _judge_flow(
        self, unsigned long long origin, unsigned long long target, unsigned long long now
    ) noexcept

    @cython.locals(at=Py_ssize_t)
    cdef void _open(
        self, bint turned, unsigned long long opener, unsigned long long other,
        unsigned long long now
    ) noexcept

    cdef bint _is_answer(self, Py_ssize_t at, PacketHeaders headers) noexcept

    @cython.locals(
        answer=bint, opener="unsigned long long", other="unsigned long long", rule=int,
    )
    cdef bint _stands(
        self, Py_ssize_t at, PacketHeaders headers, unsigned long long origin,
        unsigned long long target
    ) noexcept

    cdef bint _is_current(
        self, Py_ssize_t at, unsigned long long opener, unsigned long long other
    ) noexcept

    @cython.locals(flags="unsigned long long")
    cdef void _make_current(
        self, Py_ssize_t at, unsigned long long opener, unsigned long long other
    ) noexcept

    cdef int _decide(
        self, PacketHeaders headers, unsigned long long origin, unsigned long long target
    ) noexcept

    cdef int _decide_answered(
        self, PacketHeaders headers, unsigned long long origin, unsigned long long target
    ) noexcept

    @cython.locals(headers=PacketHeaders, at=Py_ssize_t)
    cdef void _expect_fragments(
        self, unsigned long long origin, unsigned long long target, unsigned long long now
    ) noexcept

    @cython.locals(
        headers=PacketHeaders, state="unsigned long long", answer=bint,
        life="unsigned long long", protocol=int, open_both_ways=bint,
    )
    cdef void _follow(self, Py_ssize_t at, unsigned long long now) noexcept


@cython.locals(index=Py_ssize_t)
cdef void _move(
    unsigned char[::1] view, Py_ssize_t source, Py_ssize_t target, Py_ssize_t size
) noexcept
