/* Readers and writers: the Handles of add_reader() and add_writer(), the methods around them, and what a descriptor is to them.
 *
 * The loop's thread only, but for asyncio's habit of letting other threads add some. fileno() of what is given may do anything, so that
 * the loop may be closed after it.
 */
#include "core/loop_impl.h"
#include "rt/args.h"
#include "rt/error.h"

/* ---- The descriptor of what is given ---- */

/* int(obj.fileno()), or obj if it is an int. New; NULL with ValueError("Invalid file object: ..."). */
static PyObject *file_number(pa_state *st, PyObject *obj)
{
    if (PyLong_Check(obj))
        return Py_NewRef(obj);
    PyObject *number = PyObject_CallMethodNoArgs(obj, st->names.fileno);
    PyObject *integer = number != NULL ? PyNumber_Long(number) : NULL;
    Py_XDECREF(number);
    if (integer == NULL &&
        (PyErr_ExceptionMatches(PyExc_AttributeError) || PyErr_ExceptionMatches(PyExc_TypeError) ||
         PyErr_ExceptionMatches(PyExc_ValueError))) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "Invalid file object: %R", obj);
    }
    return integer;
}

#define FD_TOO_LARGE (-2)

/* As selectors look at what they are to watch. The descriptor; FD_TOO_LARGE, nothing raised, for a number that none can have; -1 with
 * an exception. */
static int descriptor_of(pa_state *st, PyObject *obj)
{
    PyObject *integer = file_number(st, obj);
    if (integer == NULL)
        return -1;
    int overflow;
    long fd = PyLong_AsLongAndOverflow(integer, &overflow);
    if (overflow < 0 || (overflow == 0 && fd < 0)) {
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %S", integer);
        fd = -1;
    } else if (overflow > 0 || fd > INT_MAX) {
        fd = FD_TOO_LARGE;
    }
    Py_DECREF(integer);
    return (int)fd;
}

static int ensure_free(pa_loop *loop, PyObject *obj)
{
    PyObject *integer = file_number(loop->st, obj);
    if (integer == NULL)
        return -1;
    int overflow;
    long fd = PyLong_AsLongAndOverflow(integer, &overflow); /* -1 if it does not fit: nobody has that one either */
    Py_DECREF(integer);
    return pa_loop_check_free_of(loop, fd < 0 || fd > INT_MAX ? -1 : (int)fd, obj);
}

/* ---- The Handles ---- */

static int cancel_handle(pa_state *st, PyObject *handle /* steals */)
{
    int rc = pa_handle_cancel(st, handle);
    Py_DECREF(handle);
    return rc;
}

int pa_loop_put_handle(pa_loop *loop, int fd, unsigned event, PyObject *handle, bool once)
{
    PyObject *old = NULL;
    pa_fd_slot *slot = pa_loop_find_slot(loop, fd);
    /* A transport that is closing has it. What it still sends goes on beside a reader; a writer takes its place. */
    if (slot != NULL && slot->watch != NULL && (event == PA_POLL_OUT || !(slot->watch->events & PA_POLL_OUT)))
        pa_watch_detach(loop, slot->watch);
    /* fileno() and dropping a transport run user code, which may have closed the loop */
    if (pa_loop_require_open(loop) < 0 || pa_loop_exchange(loop, fd, event, handle, once, &old) < 0)
        return -1;
    return old != NULL ? cancel_handle(loop->st, old) : 0;
}

int pa_loop_drop_handle(pa_loop *loop, int fd, unsigned event)
{
    pa_fd_slot *slot = pa_loop_find_slot(loop, fd);
    PyObject *old = NULL;
    if (slot == NULL || (event == PA_POLL_IN ? slot->reader : slot->writer) == NULL)
        return 0;
    if (pa_loop_exchange(loop, fd, event, NULL, false, &old) < 0 || cancel_handle(loop->st, old) < 0)
        return -1;
    return 1;
}

/* What _add_reader(fd, callback, *args, context=None) does. New: the Handle. */
static PyObject *add_handle(pa_loop *loop, const pa_callback_args *call, unsigned event)
{
    pa_state *st = loop->st;
    PyObject *handle = NULL;
    if (pa_loop_require_open(loop) < 0)
        return NULL;
    int fd = descriptor_of(st, call->first);
    if (fd == FD_TOO_LARGE)
        PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to C int");
    if (fd < 0 || (handle = pa_handle_new(loop, call->callback, call->args, call->context)) == NULL)
        return NULL;
    if (pa_loop_put_handle(loop, fd, event, handle, false) < 0)
        Py_CLEAR(handle);
    return handle;
}

/* True, False, or NULL with an exception. */
static PyObject *remove_handle(pa_loop *loop, PyObject *obj, unsigned event)
{
    if (loop->closed)
        Py_RETURN_FALSE;
    int fd = descriptor_of(loop->st, obj);
    if (fd == -1)
        return NULL;
    int dropped = pa_loop_drop_handle(loop, fd, event);
    return dropped < 0 ? NULL : PyBool_FromLong(dropped);
}

static PyObject *add_inner(pa_loop *loop, const char *fname, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames, unsigned event)
{
    pa_callback_args call;
    if (pa_callback_parse((PyObject *)loop, fname, "fd", in, nargs, kwnames, &call) < 0)
        return NULL;
    PyObject *handle = add_handle(loop, &call, event);
    Py_DECREF(call.args);
    return handle;
}

static PyObject *fd_add_reader_inner(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    return add_inner((pa_loop *)self, "_add_reader", in, nargs, kwnames, PA_POLL_IN);
}

static PyObject *fd_add_writer_inner(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    return add_inner((pa_loop *)self, "_add_writer", in, nargs, kwnames, PA_POLL_OUT);
}

/* The public ones look for a transport first, then do what the others do: by their names, where a program has replaced one. 1 if it is so,
 * and the transport was looked for; 0; -1. */
static int check_by_name(pa_loop *loop, PyObject *fd)
{
    if (!(pa_loop_overrides(loop) & PA_OVER_FDS))
        return 0;
    PyObject *checked = PyObject_CallMethodOneArg((PyObject *)loop, loop->st->names._ensure_fd_no_transport, fd);
    Py_XDECREF(checked);
    return checked != NULL ? 1 : -1;
}

/* They take no context, and return None. */
static PyObject *add_public(pa_loop *loop, const char *fname, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames, unsigned event)
{
    pa_callback_args call;
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++)
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, i), "context") == 0)
            return pa_args_refuse((PyObject *)loop, fname, in, nargs, kwnames);
    if (pa_callback_parse((PyObject *)loop, fname, "fd", in, nargs, kwnames, &call) < 0)
        return NULL;
    PyObject *handle = NULL;
    int replaced = check_by_name(loop, call.first);
    if (replaced > 0) {
        PyObject *name = event == PA_POLL_IN ? loop->st->names._add_reader : loop->st->names._add_writer;
        PyObject *method = PyObject_GetAttr((PyObject *)loop, name);
        handle = method != NULL ? PyObject_Vectorcall(method, in, (size_t)nargs, kwnames) : NULL;
        Py_XDECREF(method);
    } else if (replaced == 0 && ensure_free(loop, call.first) == 0) {
        handle = add_handle(loop, &call, event);
    }
    Py_DECREF(call.args);
    if (handle == NULL)
        return NULL;
    Py_DECREF(handle);
    Py_RETURN_NONE;
}

static PyObject *fd_add_reader(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    return add_public((pa_loop *)self, "add_reader", in, nargs, kwnames, PA_POLL_IN);
}

static PyObject *fd_add_writer(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    return add_public((pa_loop *)self, "add_writer", in, nargs, kwnames, PA_POLL_OUT);
}

static PyObject *fd_remove_reader_inner(PyObject *self, PyObject *fd) { return remove_handle((pa_loop *)self, fd, PA_POLL_IN); }
static PyObject *fd_remove_writer_inner(PyObject *self, PyObject *fd) { return remove_handle((pa_loop *)self, fd, PA_POLL_OUT); }

static PyObject *remove_public(pa_loop *loop, const char *fname, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames,
                               unsigned event)
{
    const pa_signature signature = {fname, (const char *const[]){"fd", NULL}, 1, 1};
    PyObject *fd = pa_args_one((PyObject *)loop, &signature, in, nargs, kwnames);
    int replaced = fd != NULL ? check_by_name(loop, fd) : -1;
    if (replaced > 0)
        return PyObject_CallMethodOneArg((PyObject *)loop,
                                         event == PA_POLL_IN ? loop->st->names._remove_reader : loop->st->names._remove_writer, fd);
    return replaced == 0 && ensure_free(loop, fd) == 0 ? remove_handle(loop, fd, event) : NULL;
}

static PyObject *fd_remove_reader(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    return remove_public((pa_loop *)self, "remove_reader", in, nargs, kwnames, PA_POLL_IN);
}

static PyObject *fd_remove_writer(PyObject *self, PyObject *const *in, Py_ssize_t nargs, PyObject *kwnames)
{
    return remove_public((pa_loop *)self, "remove_writer", in, nargs, kwnames, PA_POLL_OUT);
}

static PyObject *fd_ensure_no_transport(PyObject *self, PyObject *fd)
{
    if (ensure_free((pa_loop *)self, fd) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- Tables ---- */

#define FAST(function) (PyCFunction)(void (*)(void))(function)

PyMethodDef pa_loop_reader_methods[] = {
    {"add_reader", FAST(fd_add_reader), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("add_reader($self, fd, callback, *args)\n--\n\n"
               "Call callback(*args) whenever fd (a descriptor or an object with fileno()) can be read. Replaces an earlier reader.\n\n"
               "ValueError for what has no descriptor, RuntimeError if a transport has it, OSError from the system.")},
    {"remove_reader", FAST(fd_remove_reader), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("remove_reader($self, fd)\n--\n\nUndo add_reader(). Returns whether there was one.")},
    {"add_writer", FAST(fd_add_writer), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("add_writer($self, fd, callback, *args)\n--\n\n"
               "Call callback(*args) whenever fd can be written. Replaces an earlier writer.")},
    {"remove_writer", FAST(fd_remove_writer), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("remove_writer($self, fd)\n--\n\nUndo add_writer(). Returns whether there was one.")},
    {"_add_reader", FAST(fd_add_reader_inner), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("_add_reader($self, fd, callback, *args, context=None)\n--\n\n")},
    {"_remove_reader", fd_remove_reader_inner, METH_O, PyDoc_STR("_remove_reader($self, fd)\n--\n\n")},
    {"_add_writer", FAST(fd_add_writer_inner), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("_add_writer($self, fd, callback, *args, context=None)\n--\n\n")},
    {"_remove_writer", fd_remove_writer_inner, METH_O, PyDoc_STR("_remove_writer($self, fd)\n--\n\n")},
    {"_ensure_fd_no_transport", fd_ensure_no_transport, METH_O, PyDoc_STR("_ensure_fd_no_transport($self, fd)\n--\n\n")},
    {NULL},
};
