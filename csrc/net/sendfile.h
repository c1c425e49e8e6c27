/* A file sent on a user's socket by the kernel, for the coroutines around it. See sendfile.c. */
#ifndef PA_NET_SENDFILE_H
#define PA_NET_SENDFILE_H

#include "rt/state.h"

/* Whether nobody replaced any of asyncio's methods that native code goes around on this loop, nor a function of os. 1, 0 or -1. */
int pa_sendfile_is_ours(PyObject *loop);

/* Whether pa_sendfile_begin() does all that asyncio's sock_sendfile() would with these arguments; `count` may be None. 1, 0 or -1. */
int pa_sendfile_is_plain(PyObject *loop, PyObject *sock, PyObject *file, PyObject *offset, PyObject *count);

/* The first attempt, with arguments that are plain. 1: *result (new) is the number of bytes; 0: it is a future to wait for; -1 with an
 * exception, SendfileNotAvailableError where the file has to be read and written instead. */
int pa_sendfile_begin(PyObject *loop, PyObject *sock, PyObject *file, PyObject *offset, PyObject *count, PyObject **result);

#endif
