/* What turns plaintext into TLS records and back, behind one table, so that the connection (tls_data.c) knows only one way:
 *   tls_engine_bio.c      Python's SSLObject over its MemoryBIOs, called from C. Every connection starts with it: the handshake is Python's.
 *   tls_engine_openssl.c  OpenSSL itself, on the connection's SSL*, from the end of the handshake on.
 *
 * Which of the two is used for the data is decided once for each connection, when its handshake is over (pa_tls_choose_engine), and shows
 * as `_engine`. PYASYNC_TLS=bio or openssl decides it for all; openssl then raises where the library cannot be driven directly.
 *
 * An engine calls no user code but what OpenSSL calls back (key log, message callback) and what a user's SSLObject does. Errors are
 * always raised by Python's own methods, so that they are what asyncio would show.
 */
#ifndef PA_NET_TLS_ENGINE_H
#define PA_NET_TLS_ENGINE_H

#include "rt/state.h"
#include <stdbool.h>

typedef struct pa_tls pa_tls;

enum { PA_TLS_AUTO, PA_TLS_BIO, PA_TLS_OPENSSL }; /* pa_state.tls_choice */

typedef struct {
    const char *name;
    /* What the peer has sent. `data` stays valid until keep(), which the caller calls before it goes away. 0 or -1. */
    int (*feed)(pa_tls *self, const char *data, size_t len);
    int (*keep)(pa_tls *self);
    /* Decrypts all there is. *data: new bytes, NULL for none; *eof: the peer has said that there will be no more. 0 or -1. */
    int (*read)(pa_tls *self, PyObject **data, bool *eof);
    /* Decrypts up to `wants` bytes into `buffer`, as many as there are: *n. *eof as above, and if `wants` is 0. 0 or -1. */
    int (*read_into)(pa_tls *self, PyObject *buffer, Py_ssize_t wants, Py_ssize_t *n, bool *eof);
    /* Encrypts what is put off, until OpenSSL wants to hear from the peer first. 0 or -1. */
    int (*write)(pa_tls *self);
    /* Gives the transport below what is encrypted. 0 or -1. */
    int (*send)(pa_tls *self);
    /* Bytes received and not decrypted; encrypted and not given away. -1 with an exception. */
    Py_ssize_t (*incoming)(pa_tls *self);
    Py_ssize_t (*outgoing)(pa_tls *self);
    /* The connection is lost, or goes: nothing will be read or written any more. Idempotent. */
    void (*release)(pa_tls *self);
} pa_tls_engine;

extern const pa_tls_engine pa_tls_bio_engine;
extern const pa_tls_engine pa_tls_openssl_engine;

#define PA_TLS_READ_MAX (256 * 1024) /* bytes asked for at once, as asyncio's SSLProtocol.max_size */
#define PA_TLS_RECORD (16 * 1024)    /* plaintext in one record at most */

/* The same through the MemoryBIOs or whatever else the SSLObject reads from, for what direct calls could not finish: these raise the
 * right exception. 0 or -1. */
int pa_tls_bio_read(pa_tls *self, PyObject **data, bool *eof);
int pa_tls_bio_write(pa_tls *self);
/* object.read(n) or object.<name>(arg), taking an error that means "later" as *again. New, or NULL. */
PyObject *pa_tls_ask(pa_tls *self, PyObject *object, PyObject *name, PyObject *arg, bool *again);
/* object.<name> as a number. -1 with an exception. */
Py_ssize_t pa_tls_number(PyObject *object, PyObject *name);

/* ---- The library behind Python's ssl: tls_openssl.c ---- */

/* 1 if it may be driven directly, 0 if not and pa_state.tls_reason says why, -1 with an exception. Looked into once. */
int pa_openssl_usable(pa_state *st);
/* Around the making of an SSLObject in this thread: forget, then which SSL was made. NULL: none that still exists. */
void pa_openssl_forget_made(void);
void *pa_openssl_made(void);
/* ssl, if it is the SSL of `calls`, which then keeps it alive; else NULL. */
void *pa_tls_openssl_of(void *ssl, PyObject *calls);
/* Makes OpenSSL drive the connection from now on. 1; 0 if this is not the SSL of `sslobj`; -1 with an exception. */
int pa_tls_openssl_adopt(pa_tls *self);

#endif
