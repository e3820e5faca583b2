# Copies between buffers, and new ones, for compiled kernels; see raw_copy.py.

from cpython.bytearray cimport PyByteArray_FromStringAndSize
from libc.string cimport memcpy


cdef inline bytearray new_buffer(Py_ssize_t size):
    return PyByteArray_FromStringAndSize(NULL, size)


cdef inline void copy_bytes(
    unsigned char[::1] target, Py_ssize_t at, const unsigned char[::1] source, Py_ssize_t start,
    Py_ssize_t size,
) noexcept:
    if size > 0:
        memcpy(&target[at], &source[start], <size_t>size)
