cimport cython

cdef unsigned int _NOTHING


@cython.final
cdef class PrefixTrie:
    cdef unsigned int[::1] _entries
    cdef unsigned long long[::1] _paths
    cdef unsigned char[::1] _held
    cdef readonly Py_ssize_t nodes
    cdef Py_ssize_t _free_node
    cdef unsigned long long[::1] _records
    cdef Py_ssize_t _free_record
    cdef readonly list values

    @cython.locals(
        high="unsigned long long", low="unsigned long long", at=Py_ssize_t, index=Py_ssize_t,
        root=Py_ssize_t, best=Py_ssize_t, found=Py_ssize_t, below=Py_ssize_t, leaf=Py_ssize_t,
        half="unsigned long long",
    )
    cpdef object lookup(self, bytes address)

    @cython.locals(at=Py_ssize_t, end=int, found=Py_ssize_t, below=Py_ssize_t)
    cpdef Py_ssize_t find(
        self, int version, unsigned long long high, unsigned long long low, int length
    ) noexcept

    @cython.locals(
        record=Py_ssize_t, at=Py_ssize_t, end=int, node=Py_ssize_t, start=int, below=Py_ssize_t,
        index=Py_ssize_t, other_high="unsigned long long", other_low="unsigned long long",
        other_end=int, between=Py_ssize_t,
    )
    cpdef Py_ssize_t insert(
        self, int version, unsigned long long high, unsigned long long low, int length
    ) except -1

    @cython.locals(
        high="unsigned long long", low="unsigned long long", length=int, at=Py_ssize_t,
        holder=Py_ssize_t, node=Py_ssize_t, end=int, below=Py_ssize_t,
    )
    cpdef remove(self, int version, Py_ssize_t record)

    @cython.locals(at=Py_ssize_t, length=int)
    cdef bint _holds(
        self, Py_ssize_t record, unsigned long long high, unsigned long long low
    ) noexcept

    cdef int _length(self, Py_ssize_t record) noexcept

    cdef Py_ssize_t _covering(self, Py_ssize_t record) noexcept

    @cython.locals(at=Py_ssize_t)
    cdef void _cover(self, Py_ssize_t record, Py_ssize_t covering) noexcept

    @cython.locals(
        length=int, first=Py_ssize_t, at=Py_ssize_t, longer=Py_ssize_t, shorter=Py_ssize_t
    )
    cdef void _enter(self, Py_ssize_t below, Py_ssize_t record) noexcept

    @cython.locals(
        covering=Py_ssize_t, first=Py_ssize_t, at=Py_ssize_t, longer=Py_ssize_t, found=Py_ssize_t
    )
    cdef void _withdraw(self, Py_ssize_t below, Py_ssize_t record) noexcept

    @cython.locals(high="unsigned long long", low="unsigned long long")
    cdef Py_ssize_t _first_entry(self, Py_ssize_t below, Py_ssize_t record) noexcept

    @cython.locals(left=Py_ssize_t, at=Py_ssize_t)
    cdef void _dissolve(self, Py_ssize_t node, Py_ssize_t holder) noexcept

    @cython.locals(
        node=Py_ssize_t, at=Py_ssize_t, entries="unsigned int[::1]",
        paths="unsigned long long[::1]", held="unsigned char[::1]",
    )
    cdef Py_ssize_t _new_node(
        self, unsigned long long high, unsigned long long low
    ) except -1

    @cython.locals(record=Py_ssize_t, records="unsigned long long[::1]")
    cdef Py_ssize_t _new_record(
        self, unsigned long long high, unsigned long long low, int length
    ) except -1


cdef Py_ssize_t _node(Py_ssize_t number, int start) noexcept


cdef Py_ssize_t _leaf(Py_ssize_t record) noexcept


cdef Py_ssize_t _number(Py_ssize_t below) noexcept


cdef bint _is_leaf(Py_ssize_t below) noexcept


cdef int _start(Py_ssize_t below) noexcept


cdef Py_ssize_t _entry(
    Py_ssize_t below, unsigned long long high, unsigned long long low
) noexcept


cdef int _after(int start) noexcept


cdef int _end(int length) noexcept


cdef int _covered(int length) noexcept


@cython.locals(half="unsigned long long")
cdef int _six_bits(unsigned long long high, unsigned long long low, int start) noexcept
