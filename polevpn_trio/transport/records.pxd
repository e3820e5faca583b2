cimport cython

from polevpn_trio.transport cimport libcrypto

cdef int _CHANGE_CIPHER_SPEC
cdef int _ALERT
cdef int _HANDSHAKE
cdef int _APPLICATION_DATA
cdef Py_ssize_t _HEADER
cdef Py_ssize_t _NONCE
cdef Py_ssize_t _TAG
cdef Py_ssize_t _OVERHEAD
cdef Py_ssize_t _MAX_PLAINTEXT
cdef Py_ssize_t _REPLAY_WINDOW
cdef unsigned long long _MASK64
cdef Py_ssize_t _WINDOW_WORDS


cdef class RecordSealer:
    cdef object _buffer
    cdef public unsigned long long sequence
    cdef public unsigned long long nonce_base
    cdef public unsigned long long sealed
    cdef public unsigned long long sealed_bytes
    cdef size_t _context
    cdef object _encrypt_into
    cdef unsigned char[::1] _nonce
    cdef unsigned char[::1] _additional
    cdef object _output
    cdef object _output_sizes
    cdef unsigned char[::1] _out
    cdef unsigned short[::1] _out_sizes

    cpdef Py_ssize_t seal_batch(self, datagrams, sizes, Py_ssize_t count) except -1

    cpdef bytes seal_alert(self, int level, int description)

    @cython.locals(
        lengths="const unsigned short[::1]", out="unsigned char[::1]",
        out_sizes="unsigned short[::1]", nonce="unsigned char[::1]",
        additional="unsigned char[::1]", index=Py_ssize_t, length=Py_ssize_t,
        total=Py_ssize_t, start=Py_ssize_t, offset=Py_ssize_t, body=Py_ssize_t,
        source="const unsigned char[::1]",
    )
    cdef Py_ssize_t _seal(self, datagrams, sizes, Py_ssize_t count, int kind) except -1

    @cython.locals(
        sequence="unsigned long long", explicit="unsigned long long", body=Py_ssize_t,
        place=int, byte="unsigned char",
    )
    cdef void _write_prefix(
        self, unsigned char[::1] out, unsigned char[::1] nonce,
        unsigned char[::1] additional, Py_ssize_t offset, int kind, Py_ssize_t length,
    ) noexcept


cdef class RecordOpener:
    cdef object _buffer
    cdef public object peer_alert
    cdef public unsigned long long opened
    cdef public unsigned long long opened_bytes
    cdef public unsigned long long replayed
    cdef public unsigned long long bad_tag
    cdef public unsigned long long malformed
    cdef public unsigned long long epoch0_ignored
    cdef public unsigned long long other_epoch_ignored
    cdef public unsigned long long handshake_ignored
    cdef public unsigned long long unknown_ignored
    cdef size_t _context
    cdef object _decrypt_into
    cdef unsigned char[::1] _nonce
    cdef unsigned char[::1] _additional
    cdef object _output
    cdef object _output_sizes
    cdef unsigned char[::1] _out
    cdef unsigned short[::1] _out_sizes
    cdef unsigned long long _next
    cdef unsigned long long[::1] _seen

    @cython.locals(
        records="const unsigned char[::1]", out="unsigned char[::1]", out_sizes="unsigned short[::1]",
        nonce="unsigned char[::1]", additional="unsigned char[::1]", total=Py_ssize_t,
        count=Py_ssize_t, written=Py_ssize_t, start=Py_ssize_t, end=Py_ssize_t,
        length=Py_ssize_t, size=Py_ssize_t, seen="unsigned long long[::1]",
    )
    cpdef Py_ssize_t open_batch_untrusted(self, data, Py_ssize_t segment_size) except -1

    cdef bint _lengths_add_up(
        self, const unsigned char[::1] records, Py_ssize_t start, Py_ssize_t end
    ) noexcept

    @cython.locals(kind=int, epoch=int)
    cdef bint _takes(
        self, const unsigned char[::1] records, Py_ssize_t start, Py_ssize_t length
    ) noexcept

    @cython.locals(
        sequence="unsigned long long", size=Py_ssize_t, place=int, body=Py_ssize_t,
    )
    cdef bint _open(
        self, const unsigned char[::1] records, source, Py_ssize_t start, Py_ssize_t length,
        unsigned char[::1] out, Py_ssize_t written, unsigned char[::1] nonce,
        unsigned char[::1] additional, unsigned long long[::1] seen,
    ) except -1

    cdef int _note_alert(
        self, unsigned char[::1] out, Py_ssize_t at, Py_ssize_t size
    ) except -1

    cdef bint _is_new(
        self, unsigned long long[::1] seen, unsigned long long sequence
    ) noexcept

    @cython.locals(
        one="unsigned long long", word="unsigned long long", last="unsigned long long",
    )
    cdef void _mark_seen(
        self, unsigned long long[::1] seen, unsigned long long sequence
    ) noexcept
