/* Which pollers there are on this system, and finding one by name. */
#include "base/poller.h"

#include "base/sys.h"

#include <string.h>

const pa_poller_ops *const pa_poller_backends[] = {
#ifdef PA_SYS_HAVE_EPOLL
    &pa_poller_epoll,
#endif
#ifdef PA_SYS_HAVE_KQUEUE
    &pa_poller_kqueue,
#endif
    &pa_poller_poll,
    NULL,
};

const pa_poller_ops *pa_poller_find(const char *name)
{
    if (name == NULL) return pa_poller_backends[0];
    for (size_t i = 0; pa_poller_backends[i] != NULL; i++)
        if (strcmp(pa_poller_backends[i]->name, name) == 0) return pa_poller_backends[i];
    return NULL;
}
