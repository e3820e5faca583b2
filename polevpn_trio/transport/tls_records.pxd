cimport cython

from polevpn_trio.transport cimport libcrypto

cdef int _APPLICATION_DATA
cdef Py_ssize_t _HEADER
cdef Py_ssize_t _TAG
cdef Py_ssize_t _MOST_CONTENT
cdef Py_ssize_t _MOST_CIPHERTEXT
cdef Py_ssize_t _OVERHEAD
cdef int _MOST_EMPTY
cdef int _UNEXPECTED_MESSAGE
cdef int _BAD_RECORD_MAC
cdef int _RECORD_OVERFLOW
cdef int _DECODE_ERROR


cdef class TlsSealer:
    cdef public unsigned long long sequence
    cdef size_t _context
    cdef object _encrypt_into
    cdef bytearray _iv
    cdef bytearray _nonce
    cdef bytearray _header

    @cython.locals(
        source="const unsigned char[::1]", out="unsigned char[::1]", total=Py_ssize_t,
        start=Py_ssize_t, at=Py_ssize_t, length=Py_ssize_t, nonce="unsigned char[::1]",
        iv="const unsigned char[::1]", header="unsigned char[::1]",
    )
    cpdef Py_ssize_t seal_into(self, int kind, data, target) except -1

    @cython.locals(sequence="unsigned long long", body=Py_ssize_t, place=int)
    cdef void _write_prefix(
        self, unsigned char[::1] out, unsigned char[::1] nonce, const unsigned char[::1] iv,
        unsigned char[::1] header, Py_ssize_t at, Py_ssize_t length,
    ) noexcept


cdef class TlsOpener:
    cdef public unsigned long long sequence
    cdef public Py_ssize_t consumed
    cdef public Py_ssize_t opened
    cdef public int kind
    cdef public bytes control
    cdef public int failure
    cdef int _empty
    cdef size_t _context
    cdef object _decrypt_into
    cdef bytearray _iv
    cdef bytearray _nonce
    cdef bytearray _header

    @cython.locals(
        out="unsigned char[::1]", length=Py_ssize_t, nonce="unsigned char[::1]",
        iv="const unsigned char[::1]", header="unsigned char[::1]",
    )
    cpdef Py_ssize_t open_untrusted(
        self, const unsigned char[::1] source, Py_ssize_t start, Py_ssize_t end, target,
        Py_ssize_t at,
    ) except -1

    @cython.locals(sequence="unsigned long long", place=int)
    cdef bint _decrypt(
        self, const unsigned char[::1] source, Py_ssize_t start, Py_ssize_t length,
        unsigned char[::1] out, Py_ssize_t at, unsigned char[::1] nonce,
        const unsigned char[::1] iv, unsigned char[::1] header,
    ) except -1

    @cython.locals(last=Py_ssize_t)
    cdef Py_ssize_t _take(
        self, unsigned char[::1] out, Py_ssize_t at, Py_ssize_t size
    ) except -1
