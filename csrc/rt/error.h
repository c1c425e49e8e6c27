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

#endif
