from polevpn_trio.stream_buffer cimport StreamBuffer
from polevpn_trio.transport.base cimport Link
from polevpn_trio.transport.stream_sender cimport StreamSender
from polevpn_trio.transport.tls cimport TlsStream


cdef class Joiner:
    cdef public long long bytes_joined

    cpdef join(self, buffers)


cdef class TlsStreamLink(Link):
    cdef object __weakref__
    cdef readonly TlsStream _stream
    cdef readonly Joiner _joiner
    cdef readonly StreamSender _sender
    cdef readonly StreamBuffer _incoming
    cdef public long long _bytes_received

    cpdef send_nowait(self, buffers)

    cpdef flush(self)
