# AES-GCM of the OpenSSL that is on this machine, for compiled kernels; see libcrypto.py.
# The library is opened at run time: building needs no headers of OpenSSL, and the result runs
# where there is none.

cdef extern from *:
    """
    #include <dlfcn.h>
    #include <stddef.h>

    /* OpenSSL's own names and types (EVP_EncryptInit(3)), as far as AES-GCM needs them. They
       are the same from OpenSSL 1.1 on. */
    enum { POLEVPN_SET_TAG = 0x11, POLEVPN_GET_TAG = 0x10, POLEVPN_TAG_BYTES = 16 };

    static struct {
        void *(*context_new)(void);
        void (*context_free)(void *);
        const void *(*aes_128_gcm)(void);
        const void *(*aes_256_gcm)(void);
        int (*init)(void *, const void *, void *, const unsigned char *,
                    const unsigned char *, int);
        int (*update)(void *, unsigned char *, int *, const unsigned char *, int);
        int (*final)(void *, unsigned char *, int *);
        int (*control)(void *, int, int, void *);
        /* Not everywhere. */
        unsigned long (*version)(void);
        void *(*duplicate)(const void *);
        int (*fips_enabled)(void *);
    } polevpn_evp;

    static int polevpn_evp_load(void) {
        static const char *const names[] = {"libcrypto.so.3", "libcrypto.so.4",
                                            "libcrypto.so.1.1"};
        static int state; /* 1 loaded, -1 there is none */
        void *library = NULL;
        size_t index;
        if (state != 0)
            return state > 0;
        state = -1;
        for (index = 0; library == NULL && index < sizeof names / sizeof *names; index++)
            library = dlopen(names[index], RTLD_NOW | RTLD_LOCAL);
        if (library == NULL)
            return 0;
    #define POLEVPN_FIND(member, name) \\
        (*(void **)&polevpn_evp.member = dlsym(library, name))
        if (POLEVPN_FIND(context_new, "EVP_CIPHER_CTX_new") != NULL
            && POLEVPN_FIND(context_free, "EVP_CIPHER_CTX_free") != NULL
            && POLEVPN_FIND(aes_128_gcm, "EVP_aes_128_gcm") != NULL
            && POLEVPN_FIND(aes_256_gcm, "EVP_aes_256_gcm") != NULL
            && POLEVPN_FIND(init, "EVP_CipherInit_ex") != NULL
            && POLEVPN_FIND(update, "EVP_CipherUpdate") != NULL
            && POLEVPN_FIND(final, "EVP_CipherFinal_ex") != NULL
            && POLEVPN_FIND(control, "EVP_CIPHER_CTX_ctrl") != NULL)
            state = 1;
        POLEVPN_FIND(version, "OpenSSL_version_num");
        POLEVPN_FIND(duplicate, "EVP_CIPHER_meth_dup");
        POLEVPN_FIND(fips_enabled, "EVP_default_properties_is_fips_enabled");
    #undef POLEVPN_FIND
        return state > 0;
    }

    /* OpenSSL 3.0 looks up the nonce's length and the tag by their names, letter by letter, for
       each record, which takes a quarter of the time that a packet's does. A duplicate of a cipher
       is called directly instead, as in OpenSSL 1.1, by the same code for the same instructions.
       From 3.1 on it would not be the same code: only what is looked up uses the wide AES
       instructions of newer processors. Where nothing but a FIPS module may be used, there is no
       duplicate either. */
    static const void *polevpn_gcm_cipher(ptrdiff_t size) {
        static const void *direct[2];
        const int large = size == 32;
        const void *cipher = large ? polevpn_evp.aes_256_gcm() : polevpn_evp.aes_128_gcm();
        if (polevpn_evp.duplicate == NULL || polevpn_evp.version == NULL
            || polevpn_evp.version() >> 20 != 0x300
            || (polevpn_evp.fips_enabled != NULL && polevpn_evp.fips_enabled(NULL)))
            return cipher;
        if (direct[large] == NULL)
            direct[large] = polevpn_evp.duplicate(cipher);
        return direct[large] != NULL ? direct[large] : cipher;
    }

    static void *polevpn_gcm_new(const unsigned char *key, ptrdiff_t size, int sealing) {
        const void *cipher;
        void *context;
        if ((size != 16 && size != 32) || !polevpn_evp_load())
            return NULL;
        cipher = polevpn_gcm_cipher(size);
        context = polevpn_evp.context_new();
        if (context != NULL
            && polevpn_evp.init(context, cipher, NULL, key, NULL, sealing) != 1) {
            polevpn_evp.context_free(context);
            context = NULL;
        }
        return context;
    }

    static void polevpn_gcm_free(void *context) {
        if (context != NULL)
            polevpn_evp.context_free(context);
    }

    /* A trailer of -1 is none; else it is one more byte of plaintext. */
    static int polevpn_gcm_seal(void *context, const unsigned char *nonce,
                                const unsigned char *additional, int additional_size,
                                const unsigned char *source, int size, int trailer,
                                unsigned char *target) {
        const unsigned char last = (unsigned char)trailer;
        int done;
        if (polevpn_evp.init(context, NULL, NULL, NULL, nonce, -1) != 1
            || polevpn_evp.update(context, NULL, &done, additional, additional_size) != 1
            || (size > 0 && polevpn_evp.update(context, target, &done, source, size) != 1))
            return 0;
        target += size;
        if (trailer >= 0 && polevpn_evp.update(context, target++, &done, &last, 1) != 1)
            return 0;
        return polevpn_evp.final(context, target, &done) == 1
            && polevpn_evp.control(context, POLEVPN_GET_TAG, POLEVPN_TAG_BYTES, target) == 1;
    }

    static int polevpn_gcm_open(void *context, const unsigned char *nonce,
                                const unsigned char *additional, int additional_size,
                                const unsigned char *source, int size,
                                unsigned char *target) {
        int done;
        return polevpn_evp.init(context, NULL, NULL, NULL, nonce, -1) == 1
            && polevpn_evp.control(context, POLEVPN_SET_TAG, POLEVPN_TAG_BYTES,
                                   (void *)(source + size)) == 1
            && polevpn_evp.update(context, NULL, &done, additional, additional_size) == 1
            && polevpn_evp.update(context, target, &done, source, size) == 1
            && polevpn_evp.final(context, target + size, &done) == 1;
    }
    """
    void *polevpn_gcm_new(const unsigned char *key, Py_ssize_t size, int sealing)
    void polevpn_gcm_free(void *context)
    int polevpn_gcm_seal(
        void *context, const unsigned char *nonce, const unsigned char *additional,
        int additional_size, const unsigned char *source, int size, int trailer,
        unsigned char *target,
    )
    int polevpn_gcm_open(
        void *context, const unsigned char *nonce, const unsigned char *additional,
        int additional_size, const unsigned char *source, int size, unsigned char *target,
    )


cdef inline size_t new_gcm(const unsigned char[::1] key, bint sealing) noexcept:
    return <size_t>polevpn_gcm_new(&key[0], key.shape[0], sealing)


cdef inline void free_gcm(size_t context) noexcept:
    polevpn_gcm_free(<void *>context)


cdef inline bint seal_gcm(
    size_t context, unsigned char[::1] nonce, unsigned char[::1] additional,
    const unsigned char[::1] source, Py_ssize_t start, Py_ssize_t length,
    unsigned char[::1] target, Py_ssize_t at, int trailer=-1,
) noexcept:
    return polevpn_gcm_seal(
        <void *>context, &nonce[0], &additional[0], <int>additional.shape[0], &source[start],
        <int>length, trailer, &target[at],
    )


cdef inline bint open_gcm(
    size_t context, unsigned char[::1] nonce, unsigned char[::1] additional,
    const unsigned char[::1] source, Py_ssize_t start, Py_ssize_t length,
    unsigned char[::1] target, Py_ssize_t at,
) noexcept:
    return polevpn_gcm_open(
        <void *>context, &nonce[0], &additional[0], <int>additional.shape[0], &source[start],
        <int>length, &target[at],
    )
