/* Turning what the lower layers return into Python exceptions. */
#ifndef PA_RT_ERROR_H
#define PA_RT_ERROR_H

#include "rt/compat.h"

/* Raises the OSError subclass of -errno (or MemoryError for -ENOMEM); always returns NULL. `rc` is negative. */
PyObject *pa_error_from_rc(int rc);

/* The same, but an OSError for -ENOMEM too: what a system call said of the kernel's memory, as Python's own calls report it. */
PyObject *pa_error_from_errno(ssize_t rc);

/* The same as an object, not raised: OSError(errno, strerror + suffix). New, or NULL with an exception. */
PyObject *pa_error_new(int rc, const char *suffix);

/* Whether the raised exception is one that ends the loop: SystemExit or KeyboardInterrupt. */
int pa_error_is_exit(void);

/* raise exc, whatever that is: TypeError for what is no exception. */
void pa_raise_any(PyObject *exc);

/* As an `except` clause is entered and left: what is raised between the two calls has `exc` (borrowed, may be NULL) as its context, and
 * sys.exception() is it. Returns what pa_error_handled() is given. What is raised at either call stays raised as it is. */
PyObject *pa_error_handle(PyObject *exc);
void pa_error_handled(PyObject *before); /* steals */

/* Raises exc (borrowed) again, as the one that left something called while pa_error_handle() was in force: what has come before it
 * there leads to the exception that is handled. */
void pa_error_reraise(PyObject *exc);

#endif
