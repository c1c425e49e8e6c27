/* loop.sendfile() and loop.sock_sendfile(). */
#ifndef PA_SYNC_SENDFILE_H
#define PA_SYNC_SENDFILE_H

#include "rt/state.h"

int pa_sendfiles_setup(PyObject *module, pa_state *st);

#endif
