# The loops of gf256_loops.py in C, for compiled kernels. On x86 the instructions are chosen at
# run time (SSSE3's or AVX2's byte shuffle looks up 16 or 32 half-bytes at a time); elsewhere
# factors are multiplied bit by bit, 16 bytes at a time.

cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>

    #if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
    #define POLEVPN_GF_X86 1
    #include <immintrin.h>
    #endif

    enum { POLEVPN_GF_PORTABLE, POLEVPN_GF_SSSE3, POLEVPN_GF_AVX2 };

    /* For each factor its products with 0x00 to 0x0f, then with 0x00 to 0xf0. */
    static unsigned char polevpn_gf_halves[256][32];
    static int polevpn_gf_level = -1;

    static unsigned polevpn_gf_multiply(unsigned a, unsigned b) {
        unsigned product = 0;
        for (; b; b >>= 1) {
            if (b & 1)
                product ^= a;
            a = a << 1 ^ (a & 0x80 ? 0x11d : 0);
        }
        return product;
    }

    /* Called with Python's lock held, before the first use. */
    static void polevpn_gf_prepare(void) {
        unsigned factor, half;
        for (factor = 0; factor < 256; factor++)
            for (half = 0; half < 16; half++) {
                polevpn_gf_halves[factor][half] = polevpn_gf_multiply(factor, half);
                polevpn_gf_halves[factor][16 + half] = polevpn_gf_multiply(factor, half << 4);
            }
        polevpn_gf_level = POLEVPN_GF_PORTABLE;
    #ifdef POLEVPN_GF_X86
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx2"))
            polevpn_gf_level = POLEVPN_GF_AVX2;
        else if (__builtin_cpu_supports("ssse3"))
            polevpn_gf_level = POLEVPN_GF_SSSE3;
    #endif
    }

    static void polevpn_gf_add_bytes(unsigned char *target, const unsigned char *source,
                                     ptrdiff_t size, unsigned factor) {
        const unsigned char *low = polevpn_gf_halves[factor], *high = low + 16;
        ptrdiff_t at;
        for (at = 0; at < size; at++)
            target[at] ^= low[source[at] & 15] ^ high[source[at] >> 4];
    }

    #ifdef __GNUC__
    /* Bit by bit of the factor, with the vectors that gcc and clang have on any machine. */
    typedef unsigned char polevpn_gf_vector __attribute__((vector_size(16)));
    typedef signed char polevpn_gf_signed __attribute__((vector_size(16)));

    static ptrdiff_t polevpn_gf_add_vectors(unsigned char *target, const unsigned char *source,
                                            ptrdiff_t size, unsigned factor) {
        const polevpn_gf_vector zero = {0}, reduction = zero + 0x1d;
        polevpn_gf_vector masks[8];
        ptrdiff_t at;
        int bit;
        for (bit = 0; bit < 8; bit++)
            masks[bit] = zero - (unsigned char)(factor >> bit & 1);
        for (at = 0; at + 16 <= size; at += 16) {
            polevpn_gf_vector bytes, sum;
            memcpy(&bytes, source + at, 16);
            memcpy(&sum, target + at, 16);
            for (bit = 0; bit < 8; bit++) {
                sum ^= bytes & masks[bit];
                bytes = (bytes + bytes)
                    ^ ((polevpn_gf_vector)((polevpn_gf_signed)bytes < 0) & reduction);
            }
            memcpy(target + at, &sum, 16);
        }
        return at;
    }
    #else
    static ptrdiff_t polevpn_gf_add_vectors(unsigned char *target, const unsigned char *source,
                                            ptrdiff_t size, unsigned factor) {
        return 0;
    }
    #endif

    #ifdef POLEVPN_GF_X86
    __attribute__((target("ssse3")))
    static ptrdiff_t polevpn_gf_add_ssse3(unsigned char *target, const unsigned char *source,
                                          ptrdiff_t size, unsigned factor) {
        const __m128i low = _mm_loadu_si128((const __m128i *)polevpn_gf_halves[factor]);
        const __m128i high = _mm_loadu_si128((const __m128i *)(polevpn_gf_halves[factor] + 16));
        const __m128i mask = _mm_set1_epi8(15);
        ptrdiff_t at;
        for (at = 0; at + 16 <= size; at += 16) {
            __m128i bytes = _mm_loadu_si128((const __m128i *)(source + at));
            __m128i sum = _mm_loadu_si128((const __m128i *)(target + at));
            __m128i upper = _mm_and_si128(_mm_srli_epi64(bytes, 4), mask);
            sum = _mm_xor_si128(sum, _mm_shuffle_epi8(low, _mm_and_si128(bytes, mask)));
            sum = _mm_xor_si128(sum, _mm_shuffle_epi8(high, upper));
            _mm_storeu_si128((__m128i *)(target + at), sum);
        }
        return at;
    }

    __attribute__((target("avx2")))
    static ptrdiff_t polevpn_gf_add_avx2(unsigned char *target, const unsigned char *source,
                                         ptrdiff_t size, unsigned factor) {
        const unsigned char *halves = polevpn_gf_halves[factor];
        const __m256i low =
            _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)halves));
        const __m256i high =
            _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(halves + 16)));
        const __m256i mask = _mm256_set1_epi8(15);
        ptrdiff_t at;
        for (at = 0; at + 32 <= size; at += 32) {
            __m256i bytes = _mm256_loadu_si256((const __m256i *)(source + at));
            __m256i sum = _mm256_loadu_si256((const __m256i *)(target + at));
            __m256i upper = _mm256_and_si256(_mm256_srli_epi64(bytes, 4), mask);
            sum = _mm256_xor_si256(sum, _mm256_shuffle_epi8(low, _mm256_and_si256(bytes, mask)));
            sum = _mm256_xor_si256(sum, _mm256_shuffle_epi8(high, upper));
            _mm256_storeu_si256((__m256i *)(target + at), sum);
        }
        return at;
    }
    #endif

    static void polevpn_gf_add_scaled(unsigned char *target, const unsigned char *source,
                                      ptrdiff_t size, unsigned factor) {
        ptrdiff_t done = 0;
        if (factor == 0)
            return;
        if (polevpn_gf_level < 0)
            polevpn_gf_prepare();
    #ifdef POLEVPN_GF_X86
        if (polevpn_gf_level == POLEVPN_GF_AVX2)
            done = polevpn_gf_add_avx2(target, source, size, factor);
        else if (polevpn_gf_level == POLEVPN_GF_SSSE3)
            done = polevpn_gf_add_ssse3(target, source, size, factor);
        else
    #endif
            done = polevpn_gf_add_vectors(target, source, size, factor);
        polevpn_gf_add_bytes(target + done, source + done, size - done, factor);
    }

    /* target becomes factor * target: adds what is missing to one times itself. */
    static void polevpn_gf_scale(unsigned char *target, ptrdiff_t size, unsigned factor) {
        polevpn_gf_add_scaled(target, target, size, factor ^ 1);
    }

    /* 0 portable, 1 SSSE3, 2 AVX2; a lower level may be asked for. Gives the level in use. */
    static int polevpn_gf_choose(int level) {
        polevpn_gf_prepare();
        if (level >= 0 && level < polevpn_gf_level)
            polevpn_gf_level = level;
        return polevpn_gf_level;
    }
    """
    void polevpn_gf_add_scaled(
        unsigned char *target, const unsigned char *source, Py_ssize_t size, unsigned int factor
    ) nogil
    void polevpn_gf_scale(unsigned char *target, Py_ssize_t size, unsigned int factor) nogil
    int polevpn_gf_choose(int level)

from libc.string cimport memcpy, memset


cdef inline void add_scaled(
    unsigned char[::1] target, Py_ssize_t at, const unsigned char[::1] source,
    Py_ssize_t start, Py_ssize_t size, unsigned int factor,
) noexcept:
    if size > 0:
        polevpn_gf_add_scaled(&target[at], &source[start], size, factor)


cdef inline void scale(
    unsigned char[::1] target, Py_ssize_t at, Py_ssize_t size, unsigned int factor
) noexcept:
    if size > 0:
        polevpn_gf_scale(&target[at], size, factor)


cdef inline void copy(
    unsigned char[::1] target, Py_ssize_t at, const unsigned char[::1] source,
    Py_ssize_t start, Py_ssize_t size,
) noexcept:
    if size > 0:
        memcpy(&target[at], &source[start], size)


cdef inline void clear(unsigned char[::1] target, Py_ssize_t at, Py_ssize_t size) noexcept:
    if size > 0:
        memset(&target[at], 0, size)


cdef inline int choose_level(int level) noexcept:
    return polevpn_gf_choose(level)
