cimport cython

from polevpn_trio.fec cimport gf256_loops

cdef unsigned char[::1] _exponents
cdef unsigned char[::1] _powers


cpdef unsigned int multiply(unsigned int a, unsigned int b) noexcept

cpdef unsigned int inverse(unsigned int a) noexcept

@cython.locals(size=Py_ssize_t)
cpdef add_scaled(unsigned char[::1] target, const unsigned char[::1] source, int factor)

cpdef scale(unsigned char[::1] target, int factor)

cpdef str instructions(int level=*)
