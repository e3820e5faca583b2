# The masking of WebSocket payloads for compiled kernels; see masking.py.

cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>

    static void polevpn_mask(const unsigned char *restrict source,
                             unsigned char *restrict target, ptrdiff_t count, uint32_t key,
                             int phase) {
        unsigned char pattern[8];
        uint64_t wide, word;
        ptrdiff_t words = count / 8, index;
        if (key == 0) {
            memcpy(target, source, (size_t)count);
            return;
        }
        for (index = 0; index < 8; index++)
            pattern[index] = (unsigned char)(key >> (24 - 8 * ((phase + index) & 3)));
        memcpy(&wide, pattern, 8);
        /* Through memcpy, since neither buffer is aligned; it costs no instruction. */
        for (index = 0; index < words; index++) {
            memcpy(&word, source + 8 * index, 8);
            word ^= wide;
            memcpy(target + 8 * index, &word, 8);
        }
        for (index = 8 * words; index < count; index++)
            target[index] = source[index] ^ pattern[index & 7];
    }
    """
    void polevpn_mask(
        const unsigned char *source, unsigned char *target, Py_ssize_t count, unsigned int key,
        int phase,
    )


cdef inline void mask(
    const unsigned char[::1] source, Py_ssize_t start, unsigned char[::1] target, Py_ssize_t at,
    Py_ssize_t count, unsigned int key, int phase,
) noexcept:
    if count > 0:
        polevpn_mask(&source[start], &target[at], count, key, phase)
