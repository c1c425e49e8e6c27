#include "base/list.h"

#include "check.h"

typedef struct {
    int number;
    pa_link link;
} item;

static item *owner(pa_link *link) { return PA_LINK_OWNER(link, item, link); }

static void check_list(pa_link *head, const char *expected)
{
    char forwards[16], backwards[16];
    size_t n = 0;
    for (pa_link *l = head->next; l != head; l = l->next) forwards[n++] = (char)('0' + owner(l)->number);
    forwards[n] = 0;
    CHECK(strcmp(forwards, expected) == 0);
    size_t m = n;
    for (pa_link *l = head->prev; l != head; l = l->prev) backwards[--m] = (char)('0' + owner(l)->number);
    backwards[n] = 0;
    CHECK_INT(m, 0);
    CHECK(strcmp(backwards, expected) == 0);
}

CASE(appends_in_order_and_removes_anywhere)
{
    pa_link head;
    item items[5];
    pa_link_init(&head);
    check_list(&head, "");
    for (int i = 0; i < 5; i++) {
        items[i].number = i;
        pa_link_init(&items[i].link);
        CHECK(!pa_link_is_linked(&items[i].link));
        pa_list_append(&head, &items[i].link);
        CHECK(pa_link_is_linked(&items[i].link));
    }
    check_list(&head, "01234");
    pa_link_remove(&items[2].link);
    check_list(&head, "0134");
    pa_link_remove(&items[0].link);
    pa_link_remove(&items[4].link);
    check_list(&head, "13");
    pa_list_append(&head, &items[2].link);
    check_list(&head, "132");
    for (int i = 0; i < 5; i++) pa_link_remove(&items[i].link);
    check_list(&head, "");
    CHECK(!pa_link_is_linked(&head));
}

CASE(removing_twice_is_harmless)
{
    pa_link head;
    item a = {.number = 1}, b = {.number = 2};
    pa_link_init(&head);
    pa_link_init(&a.link);
    pa_link_remove(&a.link);
    pa_list_append(&head, &a.link);
    pa_list_append(&head, &b.link);
    pa_link_remove(&a.link);
    pa_link_remove(&a.link);
    CHECK(!pa_link_is_linked(&a.link));
    check_list(&head, "2");
}

CASE(emptied_from_the_front_while_others_leave)
{
    pa_link head;
    item items[6];
    pa_link_init(&head);
    for (int i = 0; i < 6; i++) {
        items[i].number = i;
        pa_list_append(&head, &items[i].link);
    }
    int seen = 0;
    while (pa_link_is_linked(&head)) {
        item *first = owner(head.next);
        pa_link_remove(&first->link);
        seen = seen * 10 + first->number;
        if (first->number == 1) pa_link_remove(&items[3].link);
    }
    CHECK_INT(seen, 1245); /* 0 1 2 4 5 */
}
