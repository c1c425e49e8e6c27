/* pyasync._core: multi-phase initialisation. Every part sets itself up in the order of the layers. */
#include "rt/faults.h"
#include "rt/state.h"
#include "core/future.h"
#include "core/registry.h"
#include "core/task.h"
#include "net/net.h"
#include "streams/streams.h"
#include "sync/as_completed.h"
#include "sync/barrier.h"
#include "sync/chain.h"
#include "sync/condition.h"
#include "sync/corofn.h"
#include "sync/create_task.h"
#include "sync/ensure.h"
#include "sync/event.h"
#include "sync/gather.h"
#include "sync/lock.h"
#include "sync/observer.h"
#include "sync/op.h"
#include "sync/originals.h"
#include "sync/pyfn.h"
#include "sync/queue.h"
#include "sync/semaphore.h"
#include "sync/sendfile.h"
#include "sync/shield.h"
#include "sync/sleep.h"
#include "sync/sockets.h"
#include "sync/taskgroup.h"
#include "sync/threads.h"
#include "sync/timeout.h"
#include "sync/traits.h"
#include "sync/wait.h"
#include "sync/wait_for.h"
#include "sync/waiters.h"

static int module_exec(PyObject *module)
{
    static int (*const setups[])(PyObject *, pa_state *) = {
        pa_state_setup,
        pa_registry_setup,
        pa_future_setup,
        pa_task_setup,
        pa_handle_setup,
        pa_loop_setup,
        pa_sock_ops_setup,
        pa_sendfile_setup,
        pa_transport_setup,
        pa_tls_setup,
        pa_server_setup,
        pa_datagram_setup,
        pa_pipe_setup,
        pa_op_setup,
        pa_corofn_setup,
        pa_pyfn_setup,
        pa_waiters_setup,
        pa_event_setup,
        pa_lock_setup,
        pa_queue_setup,
        pa_condition_setup,
        pa_semaphore_setup,
        pa_barrier_setup,
        pa_observer_setup,
        pa_create_task_setup,
        pa_ensure_setup,
        pa_gather_setup,
        pa_shield_setup,
        pa_sleep_setup,
        pa_sockets_setup,
        pa_sendfiles_setup,
        pa_timeout_setup,
        pa_traits_setup,
        pa_taskgroup_setup,
        pa_originals_setup,
        pa_wait_setup,
        pa_wait_for_setup,
        pa_as_completed_setup,
        pa_chain_setup,
        pa_threads_setup,
        pa_streams_setup,
#ifdef PA_FAULTS
        pa_faults_setup,
#endif
    };
    if (!pa_interpreter_is_supported()) {
        PyErr_SetString(PyExc_ImportError, "module pyasync._core does not support loading in subinterpreters");
        return -1;
    }
    pa_state *st = pa_state_of_module(module);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(setups); i++)
        if (setups[i](module, st) < 0)
            return -1;
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    return pa_state_traverse(pa_state_of_module(module), visit, arg);
}

static int module_clear(PyObject *module)
{
    pa_future_free_lists(pa_state_of_module(module)); /* their objects need the types that the state owns */
    pa_op_free_lists(pa_state_of_module(module));
    pa_timeout_free_lists(pa_state_of_module(module));
    pa_corofn_free_lists(pa_state_of_module(module));
    return pa_state_clear(pa_state_of_module(module));
}

static void module_free(void *module) { module_clear((PyObject *)module); }

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    PA_MODULE_SLOT_INTERPRETERS
    PA_MODULE_SLOT_GIL
    {0, NULL},
};

struct PyModuleDef pa_module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pyasync._core",
    .m_doc = "The native part of pyasync: futures, tasks, the event loop and its transports.",
    .m_size = sizeof(pa_state),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&pa_module_def); }
