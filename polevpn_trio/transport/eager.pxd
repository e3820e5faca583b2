cimport cython

from polevpn_trio.transport.moderation cimport Moderation


cdef class EagerReads:
    cdef int _trio_epoll
    cdef object _token
    cdef double _ahead
    cdef list _timers
    cdef object _numbers
    cdef dict _readers
    cdef object _epoll
    cdef object _poll
    cdef bint _trio_must_run
    cdef readonly double crowd
    cdef public Moderation moderation

    cpdef add(self, int fd, _Reader reader)

    cpdef remove(self, int fd, _Reader reader)

    cpdef queue(self, Timer timer, double when)

    cpdef task_scheduled(self, task)

    @cython.locals(
        now=double, deadline=double, until=double, entry=double, wait=double, timer=Timer,
        timers=list,
    )
    cpdef before_io_wait(self, double timeout)

    @cython.locals(timers=list, count=int, when=double, timer=Timer)
    cdef _call_due(self, double now)

    @cython.locals(trio_waits=bint, events=list, ready=double, fd=int, reader=_Reader)
    cdef bint _serve(self, double timeout) except -1


cdef class _Reader:
    cdef EagerReads _reads
    cdef int _fd
    cdef object _handler
    cdef readonly object ended
    cdef public object failure

    cdef serve(self)


cdef class Timer:
    cdef object _due
    cdef EagerReads _reads
    cdef double _when
    cdef double _queued
    cdef object _stopped
    cdef object _scope
    cdef object _failure

    cpdef set(self, double when)

    cdef look(self, double entry, double now)

    cdef forget(self, double entry)
