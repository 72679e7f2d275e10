/* `HandleTable`: the handles of one guest, and the two things that nearly every call does with them.  All that is rarer, and
 * the words for what is refused, is in the class that engine/resources.py derives from it. */
#include "lift.h"
#include <structmember.h>

enum { MAX_HANDLE = 0x7fffffff };

typedef struct {
  PyObject_HEAD
  PyObject *owned;              /* dict: handle -> (resource, object) */
  PyObject *borrowed, *lent;    /* a dict as well, and a set of handles: NULL or None where there is none */
  PyObject *moving;             /* list: what was taken by a lift that came to no end, or NULL or None */
  long long limit, last;
} table;

static PyTypeObject *table_type;
static PyObject *s_full, *s_not_moved;

static PyObject *table_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  static char *names[] = {"limit", NULL};
  long long limit;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "L", names, &limit)) return NULL;
  PyObject *self = PyType_GenericAlloc(type, 0);
  if (!self) return NULL;
  ((table *)self)->limit = limit;
  ((table *)self)->owned = PyDict_New();
  if (!((table *)self)->owned) Py_CLEAR(self);
  return self;
}

static int table_traverse(PyObject *self, visitproc visit, void *arg) {
  table *held = (table *)self;
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(held->owned);
  Py_VISIT(held->borrowed);
  Py_VISIT(held->lent);
  Py_VISIT(held->moving);
  return 0;
}

static int table_clear(PyObject *self) {
  table *held = (table *)self;
  Py_CLEAR(held->owned);
  Py_CLEAR(held->borrowed);
  Py_CLEAR(held->lent);
  Py_CLEAR(held->moving);
  return 0;
}

static void table_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  table_clear(self);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

static bool is_there(PyObject *item) { return item && item != Py_None; }

/* insert_own(resource, object): a new handle. */
static PyObject *table_insert_own(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  table *held = (table *)self;
  if (count != 2 || !held->owned) return PyErr_Format(PyExc_TypeError, "insert_own takes resource and object");
  Py_ssize_t alive = PyDict_Size(held->owned) + (is_there(held->borrowed) ? PyDict_Size(held->borrowed) : 0);
  if (alive >= held->limit || held->last >= MAX_HANDLE) return PyObject_CallMethodObjArgs(self, s_full, args[1], NULL);
  PyObject *handle = PyLong_FromLongLong(held->last + 1), *entry = handle ? PyTuple_Pack(2, args[0], args[1]) : NULL;
  if (!entry || PyDict_SetItem(held->owned, handle, entry) < 0) Py_CLEAR(handle);
  else held->last++;
  Py_XDECREF(entry);
  return handle;
}

/* Whether an entry may be moved; -1 with an exception. */
static int may_move(const table *held, PyObject *entry, PyObject *resource, PyObject *handle) {
  int lent = is_there(held->lent) ? PySet_Contains(held->lent, handle) : 0;
  if (lent) return lent < 0 ? -1 : 0;
  PyObject *kind = PyTuple_GetItem(entry, 0);
  return kind ? kind == resource || PyObject_RichCompareBool(kind, resource, Py_EQ) : -1;
}

PyObject *gh_take_own(PyObject *self, PyObject *resource, PyObject *handle) {
  table *held = (table *)self;
  if (!PyObject_TypeCheck(self, table_type) || !held->owned) return PyErr_Format(PyExc_TypeError, "not a HandleTable");
  PyObject *entry = PyDict_GetItemWithError(held->owned, handle), *taken = NULL;
  if (!entry) return PyErr_Occurred() ? NULL : PyObject_CallMethodObjArgs(self, s_not_moved, resource, handle, NULL);
  Py_INCREF(entry);
  int fits = may_move(held, entry, resource, handle);
  if (fits == 0) taken = PyObject_CallMethodObjArgs(self, s_not_moved, resource, handle, NULL);
  if (fits > 0 && PyDict_DelItem(held->owned, handle) == 0) {
    taken = PyTuple_GetItem(entry, 1);
    Py_XINCREF(taken);
  }
  Py_DECREF(entry);
  return taken;
}

static PyObject *table_take_own(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  if (count != 2) return PyErr_Format(PyExc_TypeError, "take_own takes resource and handle");
  return gh_take_own(self, args[0], args[1]);
}

static PyMethodDef table_methods[] = {
    {"insert_own", (PyCFunction)(void (*)(void))table_insert_own, METH_FASTCALL, "A new handle to an object."},
    {"take_own", (PyCFunction)(void (*)(void))table_take_own, METH_FASTCALL,
     "The object of an owned handle, which is used up; closing the object is the caller's from now on."},
    {NULL, NULL, 0, NULL}};
static PyMemberDef table_members[] = {
    {"owned", T_OBJECT, offsetof(table, owned), READONLY, NULL},
    {"borrowed", T_OBJECT, offsetof(table, borrowed), 0, NULL},
    {"lent", T_OBJECT, offsetof(table, lent), 0, NULL},
    {"moving", T_OBJECT, offsetof(table, moving), 0, NULL},
    {"limit", T_LONGLONG, offsetof(table, limit), READONLY, NULL},
    {"last", T_LONGLONG, offsetof(table, last), 0, NULL},
    {NULL, 0, 0, 0, NULL}};
static PyType_Slot slots[] = {
    {Py_tp_new, table_new},         {Py_tp_dealloc, table_dealloc}, {Py_tp_traverse, table_traverse},
    {Py_tp_clear, table_clear},     {Py_tp_methods, table_methods}, {Py_tp_members, table_members},
    {0, NULL}};
static PyType_Spec spec = {"guesthouse._native._call.HandleTable", sizeof(table), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};

bool gh_add_table(PyObject *module) {
  s_full = PyUnicode_InternFromString("_full");
  s_not_moved = PyUnicode_InternFromString("_not_moved");
  table_type = (PyTypeObject *)PyType_FromSpec(&spec);
  return s_full && s_not_moved && table_type && PyModule_AddObjectRef(module, "HandleTable", (PyObject *)table_type) == 0;
}
