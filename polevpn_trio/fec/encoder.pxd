cimport cython

from polevpn_trio.fec cimport gf256_loops
from polevpn_trio.fec.budget cimport RepairBudget
from polevpn_trio.fec.symbols cimport coefficient

cdef int _RUNS
cdef int _LONGEST_RUN
cdef int _SHARERS
cdef double _GAP_GAIN
cdef double _LONGEST_GAP
cdef Py_ssize_t _FIRST_OUTPUT
cdef Py_ssize_t _ALIGN
cdef int _SOURCE
cdef int _REPAIR
cdef int _KIND_BITS
cdef Py_ssize_t _SOURCE_HEADER
cdef Py_ssize_t _REPAIR_HEADER
cdef Py_ssize_t _PREFIX
cdef Py_ssize_t _LONGEST_WINDOW
cdef double _LONGEST_FLUSH
cdef double _NEVER
cdef int _REGULAR
cdef int _TAIL
cdef int _PRIORITY


@cython.final
cdef class RepairEncoder:
    cdef public bytearray datagrams
    cdef public object sizes
    cdef RepairBudget _budget
    cdef Py_ssize_t _mtu
    cdef Py_ssize_t _window
    cdef double _horizon
    cdef double _flush
    cdef double _stagger
    cdef int _density
    cdef double _ratio
    cdef int _tail
    cdef int _important
    cdef bint _active
    cdef Py_ssize_t _reach
    cdef long long _next
    cdef long long _first
    cdef unsigned int _key
    cdef double _credit
    cdef long long _uncovered
    cdef double _flush_at
    cdef double _batch_at
    cdef double _gap
    cdef long long[::1] _run_first
    cdef int[::1] _run_length
    cdef double[::1] _run_due
    cdef int[::1] _run_repairs
    cdef int _oldest_run
    cdef int _runs
    cdef unsigned long long _sources
    cdef unsigned long long _source_bytes
    cdef unsigned long long _regular
    cdef unsigned long long _tail_sent
    cdef unsigned long long _priority
    cdef unsigned long long _repair_bytes
    cdef Py_ssize_t _stride
    cdef Py_ssize_t _capacity
    cdef bint _allocated
    cdef unsigned char[::1] _symbols
    cdef int[::1] _length
    cdef double[::1] _sent_at
    cdef unsigned char[::1] _output
    cdef unsigned short[::1] _output_sizes
    cdef Py_ssize_t _output_room
    cdef Py_ssize_t _count_room
    cdef Py_ssize_t _output_at
    cdef Py_ssize_t _output_count

    cpdef set_horizon(self, double horizon)

    cpdef double next_timeout(self) noexcept

    cpdef release_idle(self, double now)

    cdef void _restart(self, long long number) noexcept

    cdef _allocate_nothing(self)

    cdef _allocate(self)

    cdef void _widen_output(self, Py_ssize_t size) except *

    @cython.locals(at=Py_ssize_t)
    cdef Py_ssize_t _begin(self, Py_ssize_t size) except -1

    cdef void _put24(self, Py_ssize_t at, long long number) noexcept

    @cython.locals(
        view="const unsigned char[::1]", lengths="const unsigned short[::1]",
        marks="const unsigned char[::1]", room=Py_ssize_t, at=Py_ssize_t,
        before="unsigned long long", index=Py_ssize_t, size=Py_ssize_t,
    )
    cpdef Py_ssize_t protect_batch(
        self, datagrams, sizes, Py_ssize_t count, double now, important
    ) except -1

    @cython.locals(number="long long", slot=Py_ssize_t, start=Py_ssize_t)
    cdef void _protect(
        self, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t size, bint important,
        double now
    ) except *

    @cython.locals(gap=double, wait=double)
    cdef void _note_gap(self, double now) noexcept

    @cython.locals(run=int, length=int)
    cdef void _add_to_runs(self, long long number, int repairs, double now) except *

    @cython.locals(run=int)
    cdef void _push_run(self, long long first, int length, double due, int repairs) noexcept

    cpdef Py_ssize_t poll_repairs(self, double now) except -1

    cdef void _send_regular(self, double now) except *

    @cython.locals(_=int)
    cdef void _send_due(self, double now) except *

    @cython.locals(
        run=int, first="long long", length=int, repairs=int, last="long long", _=int
    )
    cdef void _repair_run(self, double now) except *

    @cython.locals(first="long long", _=int)
    cdef void _send_tail(self, double now) except *

    @cython.locals(oldest=double)
    cdef void _forget_old(self, double now) noexcept

    @cython.locals(mask="long long", longest=int, number="long long")
    cdef long long _reach_back(self, long long first, long long last) noexcept

    @cython.locals(
        mask="long long", longest=int, number="long long", at=Py_ssize_t, density="unsigned int",
        key="unsigned int", output="unsigned char[::1]", slot=Py_ssize_t, factor="unsigned int",
    )
    cdef bint _repair(
        self, long long first, long long last, double now, int reason
    ) except -1
