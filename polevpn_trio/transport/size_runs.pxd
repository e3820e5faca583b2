cimport cython


@cython.locals(
    lengths="const unsigned short[::1]", size="unsigned short", count=Py_ssize_t,
)
cpdef Py_ssize_t run_of_equal(sizes, Py_ssize_t first, Py_ssize_t limit) except -1
