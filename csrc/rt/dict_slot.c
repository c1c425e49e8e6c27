/* pa_dict_slot(): one look at a dict's table of entries, instead of hashing and searching. This is CPython's own business, and told in
 * a header that says so; hence this file of its own, for the versions that need it, of which no other will have another layout.
 *
 * A value can be replaced in its place without the dict noticing: its version number is only asked about global and class namespaces. An
 * untracked dict would have to be tracked for what may be part of a cycle, so that one is left to PyDict_SetItem.
 */
#define Py_BUILD_CORE_MODULE 1
#include "rt/dict_slot.h"

#if PA_KNOWS_DICT_ENTRIES
#include <internal/pycore_dict.h>
#include <internal/pycore_object.h>

#define LOOK_AT_MOST 8 /* entries: a dict of this kind has one, and some gaps before it */

PyObject **pa_dict_slot(PyObject *dict, PyObject *key, Py_ssize_t *hint)
{
    PyDictObject *d = (PyDictObject *)dict;
    PyDictKeysObject *keys = d->ma_keys;
    if (d->ma_values != NULL || DK_IS_UNICODE(keys) || !_PyObject_GC_IS_TRACKED(dict))
        return NULL;
    PyDictKeyEntry *entries = DK_ENTRIES(keys);
    Py_ssize_t n = keys->dk_nentries;
    if (*hint < n && entries[*hint].me_key == key)
        return &entries[*hint].me_value;
    for (Py_ssize_t i = n - 1; i >= 0 && i >= n - LOOK_AT_MOST; i--)
        if (entries[i].me_key == key) {
            *hint = i;
            return &entries[i].me_value;
        }
    return NULL;
}

#else

PyObject **pa_dict_slot(PyObject *dict, PyObject *key, Py_ssize_t *hint) { return NULL; }

#endif
