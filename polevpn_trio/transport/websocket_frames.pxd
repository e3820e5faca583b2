cimport cython

from polevpn_trio.stream_buffer cimport StreamBuffer
from polevpn_trio.transport cimport masking

cdef int _CONTINUATION
cdef int _TEXT
cdef int _BINARY
cdef int _CLOSE
cdef int _PING
cdef int _PONG
cdef Py_ssize_t _MAX_CONTROL
cdef Py_ssize_t _MAX_HEADER
cdef int _FIN
cdef int _RSV
cdef int _OPCODE
cdef int _CONTROL_BIT
cdef int _MASK_BIT


cdef class WebSocketFrameBuilder:
    cdef bint _masked
    cdef object _random
    cdef bytes _keys

    @cython.locals(
        size=Py_ssize_t, frame=bytearray, out="unsigned char[::1]", key="unsigned int",
        start=Py_ssize_t, at=Py_ssize_t, source="const unsigned char[::1]", count=Py_ssize_t,
    )
    cpdef build_message(self, buffers)

    @cython.locals(
        size=Py_ssize_t, out=bytearray, key="unsigned int", start=Py_ssize_t,
    )
    cpdef bytes build_control(self, int opcode, bytes payload)

    cpdef bytes build_close(self, int code)

    cdef unsigned int _next_key(self) except? 1

    @cython.locals(bit=int, at=Py_ssize_t, place=int)
    cdef Py_ssize_t _write_header(
        self, unsigned char[::1] out, int opcode, Py_ssize_t size, unsigned int key
    ) noexcept


cdef class WebSocketFrameReader:
    cdef public bytes ping
    cdef public bint ended
    cdef public int close_code
    cdef public int peer_code
    cdef bint _masked
    cdef unsigned long long _max_message_size
    cdef str _violation
    cdef bytearray _head
    cdef int _head_size
    cdef int _head_needed
    cdef int _opcode
    cdef bint _final
    cdef unsigned int _key
    cdef int _phase
    cdef Py_ssize_t _remaining
    cdef bint _in_message
    cdef unsigned long long _message_size
    cdef bytearray _control
    cdef Py_ssize_t _control_size

    @cython.locals(
        source="const unsigned char[::1]", total=Py_ssize_t, out="unsigned char[::1]",
        control="unsigned char[::1]", filled=Py_ssize_t, position=Py_ssize_t, count=Py_ssize_t,
        began=Py_ssize_t,
    )
    cpdef Py_ssize_t read_into_untrusted(self, data, StreamBuffer payload) except -1

    @cython.locals(payload=StreamBuffer, count=Py_ssize_t)
    cpdef receive_data_untrusted(self, data)

    @cython.locals(first=int, second=int, opcode=int, length=int, extra=int)
    cdef int _check_start(self) except -1

    @cython.locals(
        head="unsigned char[::1]", length="unsigned long long", at=int,
        shortest="unsigned long long", place=int,
    )
    cdef void _begin_payload(self) except *

    cdef int _end_frame(self) except -1

    cdef void _take_close(self, bytes payload) except *

    cdef int _fail(self, int code, str violation) except -1


cdef bint _is_code_of_peer(int code)
