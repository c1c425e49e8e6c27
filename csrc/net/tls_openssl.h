/* The functions of the OpenSSL that Python's ssl module uses, found at run time: the extension is not linked with any. Their types are
 * opaque here; signatures are those of OpenSSL 1.1.1 and later, which promise not to change them. */
#ifndef PA_NET_TLS_OPENSSL_H
#define PA_NET_TLS_OPENSSL_H

#include <stddef.h>

typedef struct ssl_st SSL;
typedef struct bio_st BIO;
typedef struct bio_method_st BIO_METHOD;
typedef struct crypto_ex_data_st CRYPTO_EX_DATA;
typedef void pa_ex_new(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp);
typedef void pa_ex_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp);
typedef int pa_ex_dup(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from, void *from_d, int idx, long argl, void *argp);

/* FUNCTION(result, name, arguments) */
#define PA_OPENSSL_FUNCTIONS(FUNCTION)                                                                                                      \
    FUNCTION(unsigned long, OpenSSL_version_num, (void))                                                                                    \
    FUNCTION(const char *, OpenSSL_version, (int))                                                                                          \
    FUNCTION(int, CRYPTO_get_ex_new_index, (int, long, void *, pa_ex_new *, pa_ex_dup *, pa_ex_free *))                                     \
    FUNCTION(void, ERR_clear_error, (void))                                                                                                 \
    FUNCTION(unsigned long, ERR_peek_error, (void))                                                                                         \
    FUNCTION(int, SSL_read, (SSL *, void *, int))                                                                                           \
    FUNCTION(int, SSL_write, (SSL *, const void *, int))                                                                                    \
    FUNCTION(int, SSL_pending, (const SSL *))                                                                                               \
    FUNCTION(int, SSL_get_error, (const SSL *, int))                                                                                        \
    FUNCTION(int, SSL_get_shutdown, (const SSL *))                                                                                          \
    FUNCTION(void *, SSL_get_ex_data, (const SSL *, int))                                                                                   \
    FUNCTION(void, SSL_set_bio, (SSL *, BIO *, BIO *))                                                                                      \
    FUNCTION(BIO *, BIO_new, (const BIO_METHOD *))                                                                                          \
    FUNCTION(int, BIO_free, (BIO *))                                                                                                        \
    FUNCTION(int, BIO_up_ref, (BIO *))                                                                                                      \
    FUNCTION(void, BIO_set_data, (BIO *, void *))                                                                                           \
    FUNCTION(void *, BIO_get_data, (BIO *))                                                                                                 \
    FUNCTION(void, BIO_set_init, (BIO *, int))                                                                                              \
    FUNCTION(void, BIO_set_flags, (BIO *, int))                                                                                             \
    FUNCTION(void, BIO_clear_flags, (BIO *, int))                                                                                           \
    FUNCTION(int, BIO_get_new_index, (void))                                                                                                \
    FUNCTION(BIO_METHOD *, BIO_meth_new, (int, const char *))                                                                               \
    FUNCTION(int, BIO_meth_set_read, (BIO_METHOD *, int (*)(BIO *, char *, int)))                                                           \
    FUNCTION(int, BIO_meth_set_write, (BIO_METHOD *, int (*)(BIO *, const char *, int)))                                                    \
    FUNCTION(int, BIO_meth_set_ctrl, (BIO_METHOD *, long (*)(BIO *, int, long, void *)))

/* One for the process, as the library is: filled in once, never changed or taken down, because its BIOs and callbacks live as long as
 * any SSL. A BIO's functions have nothing else to find it by. */
struct pa_openssl {
    void *handle;
    BIO_METHOD *method; /* of the connections' BIOs: tls_engine_openssl.c */
#define PA_MEMBER(result, name, arguments) result(*name) arguments;
    PA_OPENSSL_FUNCTIONS(PA_MEMBER)
#undef PA_MEMBER
};

extern struct pa_openssl pa_openssl;

/* OpenSSL's constants */
#define PA_SSL_ERROR_WANT_READ 2
#define PA_SSL_ERROR_ZERO_RETURN 6
#define PA_SSL_RECEIVED_SHUTDOWN 2
#define PA_CRYPTO_EX_INDEX_SSL 0
#define PA_BIO_TYPE_SOURCE_SINK 0x0400
#define PA_BIO_FLAGS_READ 0x01
#define PA_BIO_FLAGS_SHOULD_RETRY 0x08
#define PA_BIO_FLAGS_RETRIES 0x0f /* these, WRITE and IO_SPECIAL */
#define PA_BIO_CTRL_EOF 2
#define PA_BIO_CTRL_PENDING 10
#define PA_BIO_CTRL_FLUSH 11
#define PA_BIO_CTRL_WPENDING 13

/* Makes the method. 0, or -1: OpenSSL is out of memory. */
int pa_tls_openssl_make_method(struct pa_openssl *lib);

#endif
