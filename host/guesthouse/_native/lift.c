/* Lifts canonical-ABI values: from flat core values and linear memory to Python values.
 *
 * What lies where is a program that engine/lifting.py makes of WIT types (program.c reads it).  Everything that comes from the
 * guest is checked, each string and list in this order: alignment, bounds, lift budget; only then is anything allocated.  Each word of memory is read once.  Memory, flat values and the program are not kept by what is lifted.
 *
 * Flat core values are put in cells of 8 bytes, so that they lie as memory does, only at other offsets: `flat` says which. */
#include "lift.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "guest memory is read as it stands");

/* One lift. */
typedef struct {
  const program *program;
  PyObject *cx, *resources;
  PyObject *taken, *moving;     /* the first object that was taken out of the table, and a list of the others */
  Py_buffer view;               /* of cx.memory, where memory is that */
  const uint8_t *memory;
  uint64_t memory_size;
  long long budget;
  bool open;                    /* memory and budget are known */
  bool given;                   /* the budget is not cx's */
  PyObject **top;               /* where the next row may keep its items until all of them are there */
} lifting;

static PyObject *s_memory, *s_budget, *s_resources, *s_moving, *s_borrow;

static PyObject *lift_node(lifting *lift, const node *node, const uint8_t *at, int flat);

/* -- reading and checking */

static uint32_t read_u32(const uint8_t *at) { uint32_t value; memcpy(&value, at, 4); return value; }

static uint64_t read_u64(const uint8_t *at) { uint64_t value; memcpy(&value, at, 8); return value; }

static uint32_t read_number(const uint8_t *at, uint32_t width) {
  if (width == 1) return *at;
  if (width == 4) return read_u32(at);
  return at[0] | (uint32_t)at[1] << 8;
}

/* Raises the trap: a Python function does. */
static bool refuse(lifting *lift, trap_kind kind, PyObject *arguments) {
  PyObject *function = arguments ? PyTuple_GetItem(lift->program->traps, kind) : NULL;
  PyObject *nothing = function ? PyObject_CallObject(function, arguments) : NULL;
  if (nothing) PyErr_SetString(PyExc_SystemError, "a trap was not raised");
  Py_XDECREF(nothing);
  Py_XDECREF(arguments);
  return false;
}

/* Budget and memory are fetched when they are first needed: many calls have only handles and numbers. */
static bool open_memory(lifting *lift) {
  if (lift->open) return true;
  PyObject *budget = PyObject_GetAttr(lift->cx, s_budget);
  if (!budget) return false;
  lift->budget = PyLong_AsLongLong(budget);
  Py_DECREF(budget);
  if (lift->budget == -1 && PyErr_Occurred()) return false;
  if (lift->memory) return lift->open = true;
  PyObject *memory = PyObject_GetAttr(lift->cx, s_memory);
  if (!memory) return false;
  lift->open = PyObject_GetBuffer(memory, &lift->view, PyBUF_SIMPLE) == 0;
  Py_DECREF(memory);
  lift->memory = lift->view.buf;
  lift->memory_size = (uint64_t)lift->view.len;
  return lift->open;
}

/* The place of `count` elements behind a pointer, or NULL. */
static const uint8_t *behind(lifting *lift, uint64_t pointer, uint64_t count, uint32_t size, uint32_t align) {
  if (!open_memory(lift)) return NULL;
  uint64_t total = count * size, end = lift->memory_size;
  if ((pointer & (align - 1)) == 0 && pointer + total <= end) return lift->memory + pointer;
  refuse(lift, BAD_POINTER, Py_BuildValue("(KKIK)", (unsigned long long)pointer, (unsigned long long)total, align,
                                          (unsigned long long)end));
  return NULL;
}

static bool charge(lifting *lift, uint64_t amount) {
  lift->budget -= (long long)amount;
  return lift->budget >= 0 || refuse(lift, OVER_BUDGET, PyTuple_New(0));
}

static bool is_ascii(const uint8_t *data, uint64_t size) {
  uint64_t seen = 0, at = 0;
  for (; at + 32 <= size && !(seen & 0x8080808080808080u); at += 32)
    seen |= read_u64(data + at) | read_u64(data + at + 8) | read_u64(data + at + 16) | read_u64(data + at + 24);
  for (; at < size; at++) seen |= data[at];
  return !(seen & 0x8080808080808080u);
}

/* -- values */

static PyObject *lift_char(lifting *lift, uint32_t code) {
  if (code <= 0x10ffff && (code < 0xd800 || code >= 0xe000)) return PyUnicode_FromOrdinal((int)code);
  refuse(lift, BAD_CHAR, Py_BuildValue("(I)", code));
  return NULL;
}

static PyObject *lift_scalar(lifting *lift, op_kind op, const uint8_t *at, int flat) {
  float single;
  double number;
  switch (op) {
    case OP_BOOL: return PyBool_FromLong(read_number(at, flat ? 4 : 1) != 0);
    case OP_S8: return PyLong_FromLong((int8_t)*at);
    case OP_U8: return PyLong_FromLong(*at);
    case OP_S16: return PyLong_FromLong((int16_t)read_number(at, 2));
    case OP_U16: return PyLong_FromLong((long)read_number(at, 2));
    case OP_S32: return PyLong_FromLong((int32_t)read_u32(at));
    case OP_U32: return PyLong_FromUnsignedLong(read_u32(at));
    case OP_S64: return PyLong_FromLongLong((long long)read_u64(at));
    case OP_U64: return PyLong_FromUnsignedLongLong(read_u64(at));
    case OP_F32: memcpy(&single, at, 4); return PyFloat_FromDouble((double)single);
    case OP_F64: memcpy(&number, at, 8); return PyFloat_FromDouble(number);
    default: return lift_char(lift, read_u32(at));
  }
}

static PyObject *lift_string(lifting *lift, uint32_t pointer, uint32_t length) {
  const uint8_t *data = behind(lift, pointer, length, 1, 1);
  if (!data || !charge(lift, length)) return NULL;
  if (!is_ascii(data, length) && !charge(lift, length)) return NULL;  /* four bytes for a character */
  PyObject *text = PyUnicode_DecodeUTF8((const char *)data, (Py_ssize_t)length, NULL);
  if (!text && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
    PyErr_Clear();
    refuse(lift, BAD_TEXT, Py_BuildValue("(y#)", (const char *)data, (Py_ssize_t)length));
  }
  return text;
}

/* Numbers: nothing can trap and no Python code can run before the list is full. */
static PyObject *lift_numbers(lifting *lift, const node *element, const uint8_t *at, uint32_t length) {
  PyObject *items = PyList_New((Py_ssize_t)length);
  for (uint32_t index = 0; items && index < length; index++, at += element->size) {
    PyObject *item = lift_scalar(lift, element->op, at, 0);
    if (!item || PyList_SetItem(items, (Py_ssize_t)index, item) < 0) Py_CLEAR(items);
  }
  return items;
}

static PyObject *lift_list(lifting *lift, const node *list, uint32_t pointer, uint32_t length) {
  const node *element = list->children[0];
  const uint8_t *at = behind(lift, pointer, length, element->size, element->align);
  if (!at || !charge(lift, (uint64_t)length * list->extra)) return NULL;
  if (element->op == OP_U8) return PyBytes_FromStringAndSize((const char *)at, (Py_ssize_t)length);
  if (element->op < OP_CHAR) return lift_numbers(lift, element, at, length);
  PyObject *items = PyList_New(0);
  for (uint32_t index = 0; items && index < length; index++, at += element->size) {
    PyObject *item = lift_node(lift, element, at, 0);
    if (!item || PyList_Append(items, item) < 0) Py_CLEAR(items);
    Py_XDECREF(item);
  }
  return items;
}

static PyObject *lift_flags(const node *flags, uint32_t bits) {
  PyObject *names = PyFrozenSet_New(NULL);
  Py_ssize_t count = PyTuple_Size(flags->object);
  for (Py_ssize_t bit = 0; names && bit < count; bit++)
    if (bits >> bit & 1 && PySet_Add(names, PyTuple_GetItem(flags->object, bit)) < 0) Py_CLEAR(names);
  return names;
}

/* What was taken is remembered until the whole lift has come to its end. */
static bool keep_taken(lifting *lift, PyObject *taken) {
  if (!lift->taken) {
    Py_INCREF(taken);
    lift->taken = taken;
    return true;
  }
  if (!lift->moving) lift->moving = PyList_New(0);
  return lift->moving && PyList_Append(lift->moving, taken) == 0;
}

/* Leaves what a lift took that came to no end where close_all finds it. */
static void give_up(lifting *lift) {
  if (!lift->taken) return;
  PyObject *type, *error, *trace;
  PyErr_Fetch(&type, &error, &trace);
  if (!lift->moving) lift->moving = PyList_New(0);
  if (!lift->moving || PyList_Insert(lift->moving, 0, lift->taken) < 0 ||
      PyObject_SetAttr(lift->resources, s_moving, lift->moving) < 0)
    PyErr_Clear();
  PyErr_Restore(type, error, trace);
}

static PyObject *lift_handle(lifting *lift, const node *handle, uint32_t number) {
  bool own = handle->op == OP_OWN;
  if (!lift->resources) lift->resources = PyObject_GetAttr(lift->cx, s_resources);
  PyObject *index = lift->resources ? PyLong_FromUnsignedLong(number) : NULL;
  if (!index) return NULL;
  PyObject *taken = own ? gh_take_own(lift->resources, handle->object, index)
                        : PyObject_CallMethodObjArgs(lift->resources, s_borrow, handle->object, index, NULL);
  Py_DECREF(index);
  if (taken && own && !keep_taken(lift, taken)) Py_CLEAR(taken);
  return taken;
}

/* The tuple is made when all items are there: nobody ever sees a part of it. */
static PyObject *lift_row(lifting *lift, const node *row, const uint8_t *at, int flat) {
  PyObject **items = lift->top, *value = NULL;
  const uint32_t *offsets = row->offsets[flat];
  uint32_t count = row->count, done = 0;
  lift->top += count;
  for (; done < count; done++) {
    items[done] = lift_node(lift, row->children[done], at + offsets[done], flat);
    if (!items[done]) break;
  }
  lift->top = items;
  if (done == count)
    value = row->alloc ? row->alloc((PyTypeObject *)row->object, (Py_ssize_t)count) : PyTuple_New((Py_ssize_t)count);
  if (value) {
    for (uint32_t index = 0; index < count; index++) PyTuple_SetItem(value, (Py_ssize_t)index, items[index]);
    return value;
  }
  while (done > 0) Py_DECREF(items[--done]);
  return NULL;
}

static PyObject *lift_variant(lifting *lift, const node *variant, const uint8_t *at, int flat) {
  uint32_t chosen = read_number(at, flat ? 4 : variant->extra);
  if (chosen < variant->count)
    return lift_node(lift, variant->children[chosen], at + variant->offsets[flat][chosen], flat);
  refuse(lift, BAD_CASE, Py_BuildValue("(II)", chosen, variant->count));
  return NULL;
}

static PyObject *lift_node(lifting *lift, const node *node, const uint8_t *at, int flat) {
  int word = flat ? 8 : 4;      /* how far a length lies behind its pointer */
  switch (node->op) {
    case OP_STRING: return lift_string(lift, read_u32(at), read_u32(at + word));
    case OP_LIST: return lift_list(lift, node, read_u32(at), read_u32(at + word));
    case OP_FLAGS: return lift_flags(node, read_number(at, flat ? 4 : node->extra));
    case OP_OWN:
    case OP_BORROW: return lift_handle(lift, node, read_u32(at));
    case OP_ROW: return lift_row(lift, node, at, flat);
    case OP_VARIANT: return lift_variant(lift, node, at, flat);
    case OP_CONSTANT: Py_INCREF(node->object); return node->object;
    default: return lift_scalar(lift, node->op, at, flat);
  }
}

/* -- one call */

/* Core values are unsigned numbers, or floats where their letter says so. */
static bool read_cell(PyObject *flat, Py_ssize_t index, char letter, uint64_t *cell) {
  PyObject *item = PySequence_GetItem(flat, index);
  if (!item) return false;
  *cell = 0;
  if (PyFloat_Check(item)) {
    double number = PyFloat_AsDouble(item);
    float single = (float)number;
    if (letter == 'f') memcpy(cell, &single, 4);
    else memcpy(cell, &number, 8);
  } else {
    *cell = PyLong_AsUnsignedLongLong(item);
  }
  Py_DECREF(item);
  return *cell != UINT64_MAX || !PyErr_Occurred();
}

/* `flat` is a sequence of core values, or the beginning of a gh_guest: its memory, the size of that, and its values. */
static bool read_flat(lifting *lift, PyObject *flat, uint64_t *cells) {
  const program *program = lift->program;
  if (!PyObject_CheckBuffer(flat)) {
    for (uint32_t index = 0; index < program->cells; index++)
      if (!read_cell(flat, (Py_ssize_t)index, program->letters[index], cells + index)) return false;
    return true;
  }
  Py_buffer guest;
  if (PyObject_GetBuffer(flat, &guest, PyBUF_SIMPLE) < 0) return false;
  size_t wanted = program->cells * sizeof *cells, head = sizeof lift->memory + sizeof lift->memory_size;
  bool fits = (size_t)guest.len >= head + wanted;
  if (fits) {
    memcpy(&lift->memory, guest.buf, sizeof lift->memory);
    memcpy(&lift->memory_size, (const char *)guest.buf + sizeof lift->memory, sizeof lift->memory_size);
    memcpy(cells, (const char *)guest.buf + head, wanted);
  } else {
    PyErr_SetString(PyExc_ValueError, "not a guest");
  }
  PyBuffer_Release(&guest);
  return fits;
}

static PyObject *lift_root(lifting *lift, const uint64_t *cells) {
  const node *root = lift->program->root;
  if (!lift->program->indirect) return lift_node(lift, root, (const uint8_t *)cells, 1);
  const uint8_t *at = behind(lift, (uint32_t)cells[0], 1, root->size, root->align);
  return at ? lift_node(lift, root, at, 0) : NULL;
}

/* A lift that came to its end: what it cost is gone. */
static bool settle(lifting *lift) {
  if (!lift->open || lift->given) return true;
  PyObject *left = PyLong_FromLongLong(lift->budget);
  bool kept = left && PyObject_SetAttr(lift->cx, s_budget, left) == 0;
  Py_XDECREF(left);
  return kept;
}

static PyObject *carry_out(lifting *lift, const uint64_t *cells) {
  PyObject *items[lift->program->nodes];
  lift->top = items;
  PyObject *value = lift_root(lift, cells);
  if (value && !settle(lift)) Py_CLEAR(value);
  if (!value) give_up(lift);
  if (lift->view.obj) PyBuffer_Release(&lift->view);
  Py_XDECREF(lift->taken);
  Py_XDECREF(lift->moving);
  Py_XDECREF(lift->resources);
  return value;
}

PyObject *gh_lift(PyObject *capsule, PyObject *const *args, Py_ssize_t count) {
  const program *program = gh_program_of(capsule);
  if (!program) return NULL;
  if (count != 2) return PyErr_Format(PyExc_TypeError, "lift takes cx and flat");
  uint64_t cells[MAX_CELLS];
  lifting lift = {.program = program, .cx = args[0]};
  return read_flat(&lift, args[1], cells) ? carry_out(&lift, cells) : NULL;
}

PyObject *gh_lift_result(const program *program, const uint8_t *memory, uint64_t memory_size, const uint64_t *cells,
                         PyObject *cx, long long budget) {
  static const uint8_t nothing[1];
  lifting lift = {.program = program, .cx = cx, .memory_size = memory_size, .budget = budget};
  lift.memory = memory ? memory : nothing;  /* a guest may have none */
  lift.open = lift.given = true;
  return carry_out(&lift, cells);
}

bool gh_lift_names(void) {
  struct { PyObject **name; const char *text; } names[] = {
      {&s_memory, "memory"}, {&s_budget, "lift_budget"}, {&s_resources, "resources"},
      {&s_moving, "moving"}, {&s_borrow, "borrow"}};
  for (size_t index = 0; index < sizeof names / sizeof *names; index++)
    if (!(*names[index].name = PyUnicode_InternFromString(names[index].text))) return false;
  return true;
}
