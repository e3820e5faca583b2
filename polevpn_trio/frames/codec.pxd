cimport cython

from polevpn_trio.frames.ip cimport is_well_formed
from polevpn_trio.frames.segmentation cimport segments_in, sequence_of
from polevpn_trio.stream_buffer cimport StreamBuffer

cdef int _SIZE
cdef int _ALL
cdef int _BY_DESTINATION
cdef int _ZERO
cdef int _OFFLOAD
cdef int _FOREIGN


cdef class FrameRun:
    cdef public int command
    cdef public unsigned int sequence
    cdef public int version
    cdef public bytes address
    cdef public object data
    cdef public Py_ssize_t packets
    cdef public int sequences


cdef class FrameReader:
    cdef int _ip_command
    cdef int _forward_command
    cdef int _group
    cdef StreamBuffer _pending
    cdef public int sequences
    cdef public unsigned long long malformed

    @cython.locals(
        view="unsigned char[::1]", length=Py_ssize_t, position=Py_ssize_t, size=Py_ssize_t,
        run_start=Py_ssize_t, run_packets=Py_ssize_t, run_version=int, run_key=Py_ssize_t,
        run_sequences=int, key_size=int, key_start=Py_ssize_t, command=int, version=int,
        packets=Py_ssize_t, sequence="unsigned int",
    )
    cpdef list read_untrusted(self, StreamBuffer stream, Py_ssize_t most_runs=*)

    cpdef list receive_data_untrusted(self, data)

    cdef FrameRun _packets(
        self, whole, Py_ssize_t start, Py_ssize_t end, int version, Py_ssize_t key,
        Py_ssize_t packets, int sequences,
    )

    cdef FrameRun _control(self, whole, Py_ssize_t start, Py_ssize_t size, int command)


@cython.locals(index=int)
cdef bint _same(unsigned char[::1] view, Py_ssize_t first, Py_ssize_t second, int size)
