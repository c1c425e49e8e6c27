/* Finding the OpenSSL that Python's ssl module uses, and whether it may be driven directly (D9). All of it is looked into once, when the
 * first TLS connection is made; whatever is not exactly as expected leaves TLS to the MemoryBIOs, with the reason in tls_reason.
 *
 * The SSL* of a connection cannot be asked for. OpenSSL tells whoever registered ex_data for SSLs of each that is made and freed: the
 * last one made in this thread, if it still exists, is what the wrap_bio() between "forget" and "made" has made; that its app data is
 * the very _SSLSocket is checked for each connection (tls_engine_openssl.c). What is noted is a variable of the thread and no state of a
 * module: OpenSSL calls back with no way to tell whose state it should be, and it is only meaningful inside one call.
 */
#include "net/tls.h"
#include "net/tls_openssl.h"
#include "rt/call.h"
#include <dlfcn.h>
#include <string.h>

struct pa_openssl pa_openssl;

static _Thread_local void *made_here;

static void note_made(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp) { made_here = parent; }

static void note_freed(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    if (made_here == parent)
        made_here = NULL;
}

void pa_openssl_forget_made(void) { made_here = NULL; }

void *pa_openssl_made(void)
{
    void *ssl = made_here;
    made_here = NULL;
    return ssl;
}

/* ---- The library ---- */

/* Where the module _ssl was loaded from. New; NULL without an exception where it has no file. */
static PyObject *ssl_file(void)
{
    PyObject *module = PyImport_ImportModule("_ssl");
    PyObject *file = module != NULL ? PyObject_GetAttrString(module, "__file__") : NULL;
    PyObject *path = file != NULL && file != Py_None ? PyUnicode_EncodeFSDefault(file) : NULL;
    Py_XDECREF(file);
    Py_XDECREF(module);
    PyErr_Clear();
    return path;
}

static const char *find_functions(struct pa_openssl *lib)
{
#define PA_FIND(result, name, arguments)                                                                                                    \
    if ((*(void **)&lib->name = dlsym(lib->handle, #name)) == NULL)                                                                         \
        return "Python's OpenSSL has no function " #name;
    PA_OPENSSL_FUNCTIONS(PA_FIND)
#undef PA_FIND
    return NULL;
}

/* Whether this is the version that Python says it uses. NULL, or why not. */
static const char *check_version(struct pa_openssl *lib)
{
    PyObject *expected = NULL;
    unsigned long version = lib->OpenSSL_version_num();
    if (strncmp(lib->OpenSSL_version(0), "OpenSSL ", 8) != 0)
        return "Python's ssl does not use OpenSSL";
    if (version < 0x10101000UL)
        return "Python's OpenSSL is older than 1.1.1";
    if (pa_import_from("ssl", "OPENSSL_VERSION_NUMBER", &expected) < 0) {
        PyErr_Clear();
        return "Python's ssl does not say its version";
    }
    unsigned long number = PyLong_AsUnsignedLong(expected);
    Py_DECREF(expected);
    if (PyErr_Occurred())
        PyErr_Clear();
    return number == version ? NULL : "another OpenSSL was found than the one that Python uses";
}

/* NULL, or why not. */
static const char *load(struct pa_openssl *lib)
{
    PyObject *path = ssl_file();
    if (path == NULL)
        return "Python's _ssl is not a module of its own";
    lib->handle = dlopen(PyBytes_AS_STRING(path), RTLD_NOW | RTLD_NOLOAD);
    Py_DECREF(path);
    if (lib->handle == NULL)
        return "Python's _ssl is not loaded";
    const char *problem = find_functions(lib);
    if (problem == NULL)
        problem = check_version(lib);
    if (problem != NULL)
        return problem;
    int index = lib->CRYPTO_get_ex_new_index(PA_CRYPTO_EX_INDEX_SSL, 0, NULL, note_made, NULL, note_freed);
    if (index < 0 || pa_tls_openssl_make_method(lib) < 0)
        return "OpenSSL is out of memory";
    return NULL;
}

/* ---- The self-test ---- */

/* SSLContext(PROTOCOL_TLS_CLIENT) that asks for no certificate. New. */
static PyObject *test_context(pa_state *st)
{
    PyObject *protocol = NULL;
    if (pa_import_from("ssl", "PROTOCOL_TLS_CLIENT", &protocol) < 0)
        return NULL;
    PyObject *context = PyObject_CallOneArg(st->SSLContext, protocol);
    Py_DECREF(protocol);
    if (context != NULL && PyObject_SetAttrString(context, "check_hostname", Py_False) < 0)
        Py_CLEAR(context);
    return context;
}

/* sslobj.do_handshake() through a BIO of ours has to leave a ClientHello in it, and want an answer. NULL, or why not. */
static const char *test_handshake(pa_tls *self)
{
    PyObject *result = PyObject_CallMethodNoArgs(self->sslobj, self->st->names.do_handshake);
    bool waits = result == NULL && PyErr_ExceptionMatches(self->st->tls_again);
    Py_XDECREF(result);
    PyErr_Clear();
    const unsigned char *hello = (const unsigned char *)pa_tls_bytes_at(&self->out);
    if (!waits || self->out.len < 6 || hello[0] != 0x16 || hello[1] != 3 || hello[5] != 1)
        return "the self-test's handshake did not write to the BIO that it was given";
    return NULL;
}

/* Goes the way of a connection with a protocol that has no loop. */
static const char *test(pa_state *st)
{
    static const char failed[] = "the self-test could not make an SSLObject";
    PyObject *context = test_context(st), *incoming = PyObject_CallNoArgs(st->MemoryBIO);
    PyObject *outgoing = PyObject_CallNoArgs(st->MemoryBIO), *sslobj = NULL;
    const char *problem = failed;
    pa_openssl_forget_made();
    if (context != NULL && incoming != NULL && outgoing != NULL)
        sslobj = PyObject_CallMethod(context, "wrap_bio", "OO", incoming, outgoing);
    void *ssl = pa_openssl_made();
    PyObject *made = sslobj != NULL ? st->SSLProtocol->tp_new(st->SSLProtocol, NULL, NULL) : NULL;
    if (made != NULL && PyObject_SetAttrString(made, "_sslobj", sslobj) == 0) {
        pa_tls *self = PA_TLS(made);
        self->ssl = ssl;
        self->incoming = Py_NewRef(incoming);
        self->outgoing = Py_NewRef(outgoing);
        problem = ssl == NULL || pa_tls_openssl_adopt(self) <= 0 ? "the SSL of an SSLObject was not found" : test_handshake(self);
    }
    PyErr_Clear();
    Py_XDECREF(made);
    Py_XDECREF(sslobj);
    Py_XDECREF(outgoing);
    Py_XDECREF(incoming);
    Py_XDECREF(context);
    return problem;
}

/* ---- The answer ---- */

/* NULL, or why not. */
static const char *look(pa_state *st)
{
    if (!PA_HAS_GIL)
        return "this Python runs without the GIL";
    if (st->SSLObject == NULL)
        return "this Python has no ssl";
    const char *problem = pa_openssl.method == NULL ? load(&pa_openssl) : NULL;
    return problem != NULL ? problem : test(st);
}

int pa_openssl_usable(pa_state *st)
{
    if (!st->tls_looked) {
        /* The look runs Python code: another thread's first connection may come in between. It does without; if it must not, it looks
         * for itself. */
        if (st->tls_looking && st->tls_choice != PA_TLS_OPENSSL)
            return 0;
        st->tls_looking = true;
        const char *problem = look(st);
        PyObject *reason = problem != NULL ? PyUnicode_FromString(problem) : NULL;
        st->tls_looking = false;
        if (problem != NULL && reason == NULL)
            return -1;
        Py_XSETREF(st->tls_reason, reason);
        st->tls_looked = true;
    }
    if (st->tls_reason == NULL)
        return 1;
    if (st->tls_choice != PA_TLS_OPENSSL)
        return 0;
    PyErr_Format(PyExc_RuntimeError, "PYASYNC_TLS=openssl, but %U", st->tls_reason);
    return -1;
}
