cimport cython

from polevpn_trio.fec cimport gf256_loops
from polevpn_trio.fec.gf256 cimport inverse
from polevpn_trio.fec.symbols cimport coefficient, unwrap

cdef int _MISSING
cdef int _RECEIVED
cdef int _RECOVERED
cdef int _GIVEN_UP
cdef int _FORGOTTEN
cdef int _NONE
cdef double _NEVER
cdef Py_ssize_t _ALIGN
cdef Py_ssize_t _FIRST_OUTPUT
cdef Py_ssize_t _RING
cdef long long _MASK
cdef Py_ssize_t _EQUATIONS
cdef int _SOURCE
cdef int _REPAIR
cdef int _KIND_BITS
cdef Py_ssize_t _SOURCE_HEADER
cdef double _QUIET
cdef Py_ssize_t _REPAIR_HEADER
cdef Py_ssize_t _PREFIX
cdef int _FULL_DENSITY


@cython.final
cdef class RepairDecoder:
    cdef public bytearray datagrams
    cdef public object sizes
    cdef Py_ssize_t _stride
    cdef Py_ssize_t _mtu
    cdef double _horizon
    cdef long long _next
    cdef long long _settled
    cdef long long _missing
    cdef double _repair_at
    cdef long long _solved
    cdef readonly long long overtaken
    cdef long long _overtaken
    cdef long long _recovered
    cdef long long _given_up
    cdef long long _repairs
    cdef long long _unneeded
    cdef long long _dependent
    cdef long long _too_old
    cdef long long _malformed
    cdef long long _dropped_equations
    cdef long long _inconsistent
    cdef Py_ssize_t _used
    cdef bint _allocated
    cdef bint _can_solve
    cdef unsigned char[::1] _state
    cdef int[::1] _length
    cdef double[::1] _noticed
    cdef unsigned char[::1] _symbols
    cdef short[::1] _led
    cdef long long[::1] _leader
    cdef int[::1] _sum_length
    cdef unsigned char[::1] _factors
    cdef unsigned char[::1] _sums
    cdef unsigned char[::1] _output
    cdef unsigned short[::1] _output_sizes
    cdef Py_ssize_t _output_room
    cdef Py_ssize_t _count_room
    cdef Py_ssize_t _output_at
    cdef Py_ssize_t _output_count

    cpdef release_idle(self, double now)

    cdef _allocate_nothing(self)

    cdef void _allocate(self) except *

    cdef _free_equations(self)

    cdef void _allocate_equations(self) except *

    cdef void _widen_output(self, Py_ssize_t size) except *

    @cython.locals(at=Py_ssize_t)
    cdef void _give(
        self, const unsigned char[::1] source, Py_ssize_t start, Py_ssize_t size
    ) except *

    @cython.locals(
        view="const unsigned char[::1]", lengths="const unsigned short[::1]", room=Py_ssize_t,
        at=Py_ssize_t, index=Py_ssize_t, size=Py_ssize_t, kind=int,
    )
    cpdef Py_ssize_t receive_batch_untrusted(
        self, datagrams, sizes, Py_ssize_t count, double now
    ) except -1

    @cython.locals(wire_id="long long", number="long long", slot=Py_ssize_t, state=int,
                   start=Py_ssize_t)
    cdef void _receive_source(
        self, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t size, double now
    ) except *

    @cython.locals(number="long long", slot=Py_ssize_t)
    cdef void _advance(self, long long after, double now) except *

    @cython.locals(slot=Py_ssize_t)
    cdef void _settle(self, double now, long long forced) noexcept

    @cython.locals(
        wire_id="long long", first="long long", after="long long", unknown=int,
        number="long long", state=int, equation=Py_ssize_t,
    )
    cdef void _receive_repair(
        self, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t size, double now
    ) except *

    @cython.locals(oldest=Py_ssize_t, equation=Py_ssize_t)
    cdef Py_ssize_t _free_equation(self) noexcept

    cdef void _drop_equation(self, Py_ssize_t equation) noexcept

    @cython.locals(
        density="unsigned int", key="unsigned int", factors=Py_ssize_t, total=Py_ssize_t,
        number="long long", slot=Py_ssize_t, factor="unsigned int",
    )
    cdef void _read_equation(
        self, Py_ssize_t equation, const unsigned char[::1] view, Py_ssize_t at,
        Py_ssize_t size, long long first, long long after,
    ) noexcept

    @cython.locals(length=int)
    cdef void _add_symbol(
        self, Py_ssize_t equation, Py_ssize_t slot, unsigned int factor
    ) noexcept

    @cython.locals(length=int)
    cdef void _add_equation(
        self, Py_ssize_t equation, Py_ssize_t other, unsigned int factor
    ) noexcept

    @cython.locals(
        factors=Py_ssize_t, number="long long", slot=Py_ssize_t, factor="unsigned int"
    )
    cdef void _reduce(self, Py_ssize_t equation, long long first, long long after) noexcept

    @cython.locals(
        factors=Py_ssize_t, number="long long", slot=Py_ssize_t, factor="unsigned int",
        other=Py_ssize_t,
    )
    cdef bint _lead(self, Py_ssize_t equation) except -1

    @cython.locals(led=Py_ssize_t, equation=Py_ssize_t, factor="unsigned int")
    cdef void _put_in(self, Py_ssize_t slot) except *

    @cython.locals(
        factors=Py_ssize_t, count=int, index=Py_ssize_t, slot=Py_ssize_t, at=Py_ssize_t,
        length=Py_ssize_t,
    )
    cdef void _solve(self, Py_ssize_t equation) except *

    @cython.locals(wire_id="long long")
    cdef bint _is_datagram(self, Py_ssize_t at, Py_ssize_t length, Py_ssize_t equation) noexcept
