/* Reads the program of a lift: nested tuples, into nodes of C.  Our own Python makes them (engine/lifting.py), never a guest. */
#include "lift.h"

static void free_node(node *node) {
  if (!node) return;
  for (uint32_t index = 0; node->children && index < node->count; index++) free_node(node->children[index]);
  Py_XDECREF(node->object);
  PyMem_Free(node->children);
  PyMem_Free(node->offsets[0]);
  PyMem_Free(node->offsets[1]);
  PyMem_Free(node);
}

static const char PROGRAM[] = "guesthouse.program";

program *gh_program_of(PyObject *capsule) { return PyCapsule_GetPointer(capsule, PROGRAM); }

static void free_program(PyObject *capsule) {
  program *program = gh_program_of(capsule);
  if (!program) return;
  free_node(program->root);
  Py_XDECREF(program->traps);
  PyMem_Free(program);
}

static uint32_t *read_offsets(PyObject *given, uint32_t count) {
  uint32_t *offsets = PyMem_Calloc(count + 1, sizeof *offsets);
  if (!offsets) return (uint32_t *)PyErr_NoMemory();
  for (uint32_t index = 0; index < count; index++) {
    PyObject *item = PyTuple_GetItem(given, (Py_ssize_t)index);
    offsets[index] = item ? (uint32_t)PyLong_AsUnsignedLong(item) : 0;
  }
  if (!PyErr_Occurred()) return offsets;
  PyMem_Free(offsets);
  return NULL;
}

static node *make_node(program *program, PyObject *given, int depth);

static bool fill_node(program *program, node *node, PyObject *given, int depth) {
  PyObject *children, *offsets, *flat;
  int op;
  if (!given) return false;
  if (!PyArg_ParseTuple(given, "iIIIOO!O!O!", &op, &node->size, &node->align, &node->extra, &node->object, &PyTuple_Type,
                        &children, &PyTuple_Type, &offsets, &PyTuple_Type, &flat)) {
    node->object = NULL;
    return false;
  }
  Py_INCREF(node->object);
  node->op = (op_kind)op;
  bool typed = op == OP_ROW && PyType_Check(node->object);
  if (typed) node->alloc = (allocfunc)PyType_GetSlot((PyTypeObject *)node->object, Py_tp_alloc);
  uint32_t count = (uint32_t)PyTuple_Size(children);
  if (op < 0 || op >= OP_COUNT || ++program->nodes > MAX_NODES || depth > MAX_DEPTH || (op == OP_LIST && count != 1) ||
      (op == OP_FLAGS && !PyTuple_Check(node->object)) || (typed && !node->alloc)) {
    PyErr_SetString(PyExc_ValueError, "not a program");
    return false;
  }
  node->offsets[0] = read_offsets(offsets, count);
  node->offsets[1] = node->offsets[0] ? read_offsets(flat, count) : NULL;
  node->children = PyMem_Calloc(count + 1, sizeof *node->children);
  if (!node->offsets[1]) return false;
  if (!node->children) return PyErr_NoMemory() != NULL;
  for (; node->count < count; node->count++) {
    node->children[node->count] = make_node(program, PyTuple_GetItem(children, (Py_ssize_t)node->count), depth + 1);
    if (!node->children[node->count]) return false;
  }
  return true;
}

static node *make_node(program *program, PyObject *given, int depth) {
  node *made = PyMem_Calloc(1, sizeof *made);
  if (!made) return (node *)PyErr_NoMemory();
  if (fill_node(program, made, given, depth)) return made;
  return free_node(made), NULL;
}

PyObject *gh_lift_program(PyObject *root, const char *letters, Py_ssize_t cells, bool indirect, PyObject *traps) {
  if (cells > MAX_CELLS || (indirect && cells != 1) || PyTuple_Size(traps) != TRAP_COUNT)
    return PyErr_Format(PyExc_ValueError, "not a program");
  program *made = PyMem_Calloc(1, sizeof *made);
  if (!made) return PyErr_NoMemory();
  PyObject *capsule = PyCapsule_New(made, PROGRAM, free_program);
  if (!capsule) {
    PyMem_Free(made);
    return NULL;
  }
  Py_INCREF(traps);
  made->traps = traps;
  made->indirect = indirect;
  made->cells = (uint32_t)cells;
  memcpy(made->letters, letters, (size_t)cells);
  made->root = make_node(made, root, 0);
  if (!made->root) Py_CLEAR(capsule);
  return capsule;
}
