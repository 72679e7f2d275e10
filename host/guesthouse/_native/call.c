/* The module `_call`: what makes Python objects of a guest, which cffi has no way to declare.
 *
 * `compile` gives the function lift(cx, flat) of a program; `callee` the two functions of an export that a call of it needs.
 * Most calls end in their first slice: for those `run` is all, from the lowered arguments to the lifted result and the end of
 * the store, while nothing of Python's has to be looked up. */
#include "lift.h"
#include "internal.h"

/* An export of a program under limits, with the program of its result. */
typedef struct {
  const gh_target *target;
  const program *result;        /* NULL where it has none */
  PyObject *kept;               /* owns `result` */
  long long budget;             /* of bytes that the result may cost */
  uint32_t flat;                /* core values of the lowered arguments */
} callee;

static const char CALLEE[] = "guesthouse.callee";

/* -- calls */

static PyObject *fuel_used(const gh_guest *guest) {
  if (guest->fuel_known) return PyLong_FromUnsignedLongLong(guest->limits->fuel - guest->fuel_left);
  Py_INCREF(Py_None);
  return Py_None;
}

static PyObject *lift_result(const callee *callee, const gh_guest *guest, PyObject *cx) {
  if (callee->result)
    return gh_lift_result(callee->result, guest->memory, guest->memory_size, guest->values, cx, callee->budget);
  Py_INCREF(Py_None);
  return Py_None;
}

/* (value, fuel used, peak memory) of a call that is done, whose store is deleted.  Where the lift traps the store stays. */
static PyObject *finish(const callee *callee, gh_guest *guest, PyObject *cx) {
  PyObject *done = PyTuple_New(3), *value = done ? lift_result(callee, guest, cx) : NULL;
  if (!value) {
    Py_XDECREF(done);
    return NULL;
  }
  gh_finish(guest);
  PyObject *fuel = fuel_used(guest), *memory = PyLong_FromUnsignedLongLong(guest->peak_memory);
  PyTuple_SetItem(done, 0, value);
  PyTuple_SetItem(done, 1, fuel);
  PyTuple_SetItem(done, 2, memory);
  if (fuel && memory) return done;
  Py_DECREF(done);
  return NULL;
}

static const char *bytes_of(PyObject *plan, Py_ssize_t index, Py_ssize_t *size) {
  char *data;
  PyObject *item = PyTuple_GetItem(plan, index);
  return item && PyBytes_AsStringAndSize(item, &data, size) == 0 ? data : NULL;
}

/* run(guest, deadline_ns, plan, cx): starts the guest; what `end` gives where it is done, else its status. */
static PyObject *callee_run(PyObject *capsule, PyObject *const *args, Py_ssize_t count) {
  const callee *callee = PyCapsule_GetPointer(capsule, CALLEE);
  if (!callee) return NULL;
  if (count != 4 || !PyTuple_Check(args[2])) return PyErr_Format(PyExc_TypeError, "run takes guest, deadline, plan and cx");
  Py_ssize_t blocks_size, blob_size;
  gh_guest *guest = PyLong_AsVoidPtr(args[0]);
  uint64_t deadline_ns = PyLong_AsUnsignedLongLong(args[1]);
  if (PyErr_Occurred()) return NULL;
  const char *blocks = bytes_of(args[2], 0, &blocks_size), *blob = blocks ? bytes_of(args[2], 1, &blob_size) : NULL;
  if (!blob) return NULL;
  int status = gh_start(guest, callee->target, deadline_ns, (const uint8_t *)blob, callee->flat, (const uint8_t *)blocks,
                        (uint32_t)((size_t)blocks_size / sizeof(gh_block)));
  return status == GH_DONE ? finish(callee, guest, args[3]) : PyLong_FromLong(status);
}

/* end(guest, cx): the end of a call that was done in a later slice. */
static PyObject *callee_end(PyObject *capsule, PyObject *const *args, Py_ssize_t count) {
  const callee *callee = PyCapsule_GetPointer(capsule, CALLEE);
  if (!callee) return NULL;
  if (count != 2) return PyErr_Format(PyExc_TypeError, "end takes guest and cx");
  gh_guest *guest = PyLong_AsVoidPtr(args[0]);
  return guest ? finish(callee, guest, args[1]) : NULL;
}

/* -- what makes the functions */

static PyMethodDef run_method = {"run", (PyCFunction)(void (*)(void))callee_run, METH_FASTCALL,
                                 "run(guest, deadline_ns, plan, cx): starts the guest and ends it where it is done."};
static PyMethodDef end_method = {"end", (PyCFunction)(void (*)(void))callee_end, METH_FASTCALL,
                                 "end(guest, cx): (value, fuel used, peak memory) of a call that is done."};
static PyMethodDef lift_method = {"lift", (PyCFunction)(void (*)(void))gh_lift, METH_FASTCALL,
                                  "lift(cx, flat): the Python value of core values and memory."};

static void free_callee(PyObject *capsule) {
  callee *callee = PyCapsule_GetPointer(capsule, CALLEE);
  Py_XDECREF(callee->kept);
  PyMem_Free(callee);
}

/* The program behind a lift function, which becomes the callee's. */
static bool keep_result(callee *callee, PyObject *lift) {
  if (lift == Py_None) return true;
  callee->kept = PyCFunction_GetSelf(lift);
  Py_XINCREF(callee->kept);
  callee->result = callee->kept ? gh_program_of(callee->kept) : NULL;
  return callee->result;
}

static PyObject *make_callee(PyObject *module, PyObject *args) {
  (void)module;
  unsigned long long target;
  PyObject *lift;
  callee given = {0};
  if (!PyArg_ParseTuple(args, "KIOL", &target, &given.flat, &lift, &given.budget)) return NULL;
  given.target = (const gh_target *)(uintptr_t)target;
  callee *made = PyMem_Calloc(1, sizeof *made);
  if (!made) return PyErr_NoMemory();
  *made = given;
  PyObject *capsule = PyCapsule_New(made, CALLEE, free_callee);
  if (!capsule) {
    PyMem_Free(made);
    return NULL;
  }
  PyObject *run = NULL, *end = NULL, *pair = NULL;
  if (keep_result(made, lift)) run = PyCFunction_New(&run_method, capsule);
  if (run) end = PyCFunction_New(&end_method, capsule);
  if (end) pair = PyTuple_Pack(2, run, end);
  Py_XDECREF(run);
  Py_XDECREF(end);
  Py_DECREF(capsule);
  return pair;
}

static PyObject *make_lift(PyObject *module, PyObject *args) {
  (void)module;
  PyObject *root, *traps;
  const char *letters;
  Py_ssize_t cells;
  int indirect;
  if (!PyArg_ParseTuple(args, "O!s#pO!", &PyTuple_Type, &root, &letters, &cells, &indirect, &PyTuple_Type, &traps))
    return NULL;
  PyObject *capsule = gh_lift_program(root, letters, cells, indirect, traps);
  PyObject *function = capsule ? PyCFunction_New(&lift_method, capsule) : NULL;
  Py_XDECREF(capsule);
  return function;
}

static PyMethodDef methods[] = {
    {"compile", make_lift, METH_VARARGS, "compile(root, letters, indirect, traps): the function that lifts."},
    {"callee", make_callee, METH_VARARGS, "callee(target, flat, lift, budget): the functions run and end of an export."},
    {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_call", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__call(void) {
  PyObject *module = gh_lift_names() ? PyModule_Create(&definition) : NULL;
  if (module && !gh_add_table(module)) Py_CLEAR(module);
  return module;
}
