/* Which of the loop's methods a subclass, a patch of a class or an assignment to the instance replaced (D2).
 *
 * Native code that would call such a method directly asks pa_loop_overrides() first; that compares what a change cannot leave as it
 * was (the type's version, the size of the instance's dict) and comes here only then. Assignments to the instance come through
 * tp_setattro, which makes the next comparison fail at once.
 */
#include "core/loop_impl.h"
#include "rt/override.h"

static int is_replaced(pa_loop *loop, PyObject *name)
{
    if (loop->dict != NULL) {
        int found = PyDict_Contains(loop->dict, name);
        if (found != 0)
            return found;
    }
    PyObject *mine = NULL, *ours = NULL;
    if (pa_getattr_optional((PyObject *)Py_TYPE(loop), name, &mine) < 0 ||
        pa_getattr_optional((PyObject *)loop->st->EventLoop, name, &ours) < 0) {
        Py_XDECREF(mine);
        return -1;
    }
    int replaced = !pa_override_same(mine, ours);
    Py_XDECREF(mine);
    Py_XDECREF(ours);
    return replaced;
}

/* Whether an attribute of one of asyncio's own classes is still what it was when we were imported. */
static int is_patched(PyTypeObject *type, PyObject *name, PyObject *original)
{
    PyObject *now = PyObject_GetAttr((PyObject *)type, name);
    if (now == NULL)
        return -1;
    Py_DECREF(now);
    return now != original;
}

void pa_loop_find_overrides(pa_loop *loop)
{
    pa_state *st = loop->st;
    const struct {
        PyObject *name;
        unsigned bit;
    } names[] = {
        {st->names.call_soon, PA_OVER_CALL_SOON},
        {st->names._call_soon, PA_OVER_SCHEDULING},
        {st->names._check_closed, PA_OVER_SCHEDULING},
        {st->names.call_at, PA_OVER_CALL_AT},
        {st->names.time, PA_OVER_TIME},
        {st->names._run_once, PA_OVER_RUN_ONCE},
        {st->names._process_events, PA_OVER_PROCESS_EVENTS},
        {st->names._add_callback, PA_OVER_ADD_CALLBACK},
        {st->names._write_to_self, PA_OVER_WRITE_TO_SELF},
        {st->names._timer_handle_cancelled, PA_OVER_TIMER_CANCELLED},
        {st->names.create_future, PA_OVER_CREATE_FUTURE},
        {st->names.create_task, PA_OVER_OWN_CREATE_TASK},
        {st->names.call_later, PA_OVER_CALL_LATER},
        {st->names.call_soon_threadsafe, PA_OVER_SOON_THREADSAFE},
        {st->names._add_reader, PA_OVER_FDS},
        {st->names._add_writer, PA_OVER_FDS},
        {st->names._remove_reader, PA_OVER_FDS},
        {st->names._remove_writer, PA_OVER_FDS},
        {st->names.remove_reader, PA_OVER_FDS},
        {st->names.remove_writer, PA_OVER_FDS},
        {st->names._ensure_fd_no_transport, PA_OVER_FDS},
    };
    PyObject *raised = pa_err_take();
    unsigned bits = 0;
    int rc = 0;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(names) && rc >= 0; i++)
        if ((rc = is_replaced(loop, names[i].name)) > 0)
            bits |= names[i].bit;
    bool rewritten = pa_override_rewritten(st->handle_run, st->handle_run_code);
    if (rc >= 0 && ((rc = is_patched(st->aio_Handle, st->names._run, st->handle_run)) > 0 || rewritten))
        bits |= PA_OVER_HANDLE_RUN;
    if (rc >= 0 && (rc = is_patched((PyTypeObject *)st->BaseEventLoop, st->names.create_task, st->base_create_task)) > 0)
        bits |= PA_OVER_CREATE_TASK;
    if (rc < 0)
        PyErr_WriteUnraisable((PyObject *)loop);
    pa_err_restore(raised);
    pa_type_assign_version(Py_TYPE(loop));
    pa_type_assign_version(st->aio_Handle);
    loop->over = (pa_overrides){
        .bits = bits,
        .type = Py_TYPE(loop),
        .type_tag = Py_TYPE(loop)->tp_version_tag,
        .handle_tag = st->aio_Handle->tp_version_tag,
        .dict_used = pa_loop_dict_used(loop),
        .handle_rewritten = rewritten,
    };
}

int pa_loop_replaces_create_future(pa_loop *loop) { return (pa_loop_overrides(loop) & PA_OVER_CREATE_FUTURE) != 0; }

int pa_loop_has_own(pa_loop *loop, PyObject *names)
{
    Py_ssize_t pos = 0;
    PyObject *name;
    int found = 0;
    while (found == 0 && pa_loop_dict_used(loop) > 0 && PyDict_Next(names, &pos, &name, NULL))
        found = PyDict_Contains(loop->dict, name);
    return found;
}
