/* loop.sock_recv() and its kin. */
#ifndef PA_SYNC_SOCKETS_H
#define PA_SYNC_SOCKETS_H

#include "rt/state.h"

int pa_sockets_setup(PyObject *module, pa_state *st);

#endif
