/* Intrusive doubly linked list: a circle through a head that is a link itself. A link that is in no list points at itself. */
#ifndef PA_BASE_LIST_H
#define PA_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct pa_link {
    struct pa_link *next, *prev;
} pa_link;

#define PA_LINK_OWNER(link, type, member) ((type *)((char *)(link) - offsetof(type, member)))

static inline void pa_link_init(pa_link *link) { link->next = link->prev = link; }

static inline bool pa_link_is_linked(const pa_link *link) { return link->next != link; }

/* The new link becomes the last of the list. */
static inline void pa_list_append(pa_link *head, pa_link *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

/* Idempotent: an unlinked link stays unlinked. */
static inline void pa_link_remove(pa_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    pa_link_init(link);
}

#endif
