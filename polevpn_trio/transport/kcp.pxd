cimport cython

from polevpn_trio.kcp.congestion.bbr cimport Bbr
from polevpn_trio.kcp.conversation cimport Conversation
from polevpn_trio.transport.base cimport Link
from polevpn_trio.transport.carriage cimport Carriage
from polevpn_trio.transport.eager cimport Timer
from polevpn_trio.transport.packet_channel cimport PacketChannel


cdef class KcpLink(Link):
    cdef object __weakref__
    cdef object _options
    cdef Py_ssize_t _queue_bytes
    cdef object _release
    cdef readonly object _session
    cdef readonly PacketChannel _packets
    cdef readonly bint _in_stream
    cdef public Carriage _carriage
    cdef readonly object _held_until
    cdef readonly Bbr _congestion
    cdef readonly Conversation _conversation
    cdef object _source
    cdef bint _blocked
    cdef object _failure
    cdef object _consume
    cdef object _consume_packets
    cdef bint _at_leisure
    cdef bint _in_turn
    cdef object _rest
    cdef object _progress
    cdef object _settled
    cdef readonly Timer _timer
    cdef object _time
    cdef double _note_path_at
    cdef long long _bytes_sent
    cdef long long _bytes_received

    cdef long long _room(self) except -1

    @cython.locals(packets=PacketChannel, size=Py_ssize_t)
    cpdef send_nowait(self, buffers)

    @cython.locals(most=Py_ssize_t, waits=bint)
    cdef _pull(self, double now)

    cpdef flush(self)

    @cython.locals(conversation=Conversation, packets=PacketChannel, now=double, packets_due=double)
    cpdef _flush(self)

    cdef bint _only_heartbeats(self) except -1

    @cython.locals(carriage=Carriage, packets_due=double)
    cdef double _send_both(self, PacketChannel packets, double now) except *

    @cython.locals(packets=PacketChannel)
    cdef _choose_way(self, Carriage carriage, double now)

    cdef double _least_rtt(self) except *

    cdef tuple _path_counters(self, PacketChannel packets)

    @cython.locals(conversation=Conversation, count=Py_ssize_t, _=int)
    cdef _send_packets(self, PacketChannel packets, double now)

    @cython.locals(conversation=Conversation, count=Py_ssize_t, _=int)
    cdef _send_stream(self, double now)

    @cython.locals(due=double)
    cdef double _next_turn(self, double now) except *

    cdef _fail(self, error)

    cdef _check_open(self)

    cdef _hand_on_packets(self)

    cpdef bint take_untrusted(self, data, Py_ssize_t segment_size) except -1

    @cython.locals(new=Py_ssize_t)
    cpdef end_turn(self)

    cdef _note_goodbye(self)

    @cython.locals(count=Py_ssize_t, others=Py_ssize_t)
    cdef _take_untrusted(self, data, Py_ssize_t segment_size, double now)

    cdef _take_segments_untrusted(self, datagrams, sizes, Py_ssize_t count, double now)
