/* What module.c sets up of net/. Everything here hangs on the loop by methods added to its type and by pa_watch. */
#ifndef PA_NET_NET_H
#define PA_NET_NET_H

#include "core/loop.h"

int pa_sock_ops_setup(PyObject *module, pa_state *st);  /* loop.sock_* */
int pa_sendfile_setup(PyObject *module, pa_state *st);  /* what loop.sendfile() and sock_sendfile() stand on */
int pa_transport_setup(PyObject *module, pa_state *st); /* SocketTransport, loop._make_socket_transport */
int pa_datagram_setup(PyObject *module, pa_state *st); /* DatagramTransport, loop._make_datagram_transport */
int pa_pipe_setup(PyObject *module, pa_state *st);     /* ReadPipeTransport, WritePipeTransport, loop._make_*_pipe_transport */
int pa_tls_setup(PyObject *module, pa_state *st);      /* SSLProtocol, SSLTransport */
int pa_server_setup(PyObject *module, pa_state *st);    /* loop._start_serving, _stop_serving */

#endif
