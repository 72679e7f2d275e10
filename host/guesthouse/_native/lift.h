/* What lift.c, program.c and call.c share: the program of a lift, as engine/lifting.py makes it of WIT types. */
#ifndef GUESTHOUSE_LIFT_H
#define GUESTHOUSE_LIFT_H
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The same numbers as `Op` of engine/lifting.py. */
typedef enum {
  OP_BOOL, OP_S8, OP_U8, OP_S16, OP_U16, OP_S32, OP_U32, OP_S64, OP_U64, OP_F32, OP_F64, OP_CHAR,
  OP_STRING, OP_LIST, OP_FLAGS, OP_OWN, OP_BORROW, OP_ROW, OP_VARIANT, OP_CONSTANT, OP_COUNT
} op_kind;

/* The same order as TRAPS of engine/lift_traps.py. */
typedef enum { BAD_POINTER, OVER_BUDGET, BAD_CASE, BAD_CHAR, BAD_TEXT, TRAP_COUNT } trap_kind;

enum { MAX_CELLS = 16, MAX_NODES = 4096, MAX_DEPTH = 200 };

typedef struct node {
  op_kind op;
  uint32_t size, align;         /* in memory */
  uint32_t extra;               /* list: charge of an element; flags and variant: bytes of the number in memory */
  uint32_t count;               /* children */
  allocfunc alloc;              /* row: of its class, or NULL for a plain tuple */
  PyObject *object;             /* row: class or None; flags: names; handle: resource; constant: the value */
  struct node **children;
  uint32_t *offsets[2];         /* of the children, in memory and flat */
} node;

typedef struct {
  node *root;
  PyObject *traps;
  uint32_t nodes, cells;        /* cells: how many flat values are read */
  bool indirect;                /* the one flat value is a pointer to the root */
  char letters[MAX_CELLS];
} program;

/* program.c: the capsule of a program, made of nested tuples, and the program in it. */
PyObject *gh_lift_program(PyObject *root, const char *letters, Py_ssize_t cells, bool indirect, PyObject *traps);
program *gh_program_of(PyObject *capsule);

/* lift.c */
bool gh_lift_names(void);
/* lift(cx, flat), of the capsule of a program. */
PyObject *gh_lift(PyObject *capsule, PyObject *const *args, Py_ssize_t count);
/* The result of a finished call, which may cost `budget`. */
PyObject *gh_lift_result(const program *program, const uint8_t *memory, uint64_t memory_size, const uint64_t *cells,
                         PyObject *cx, long long budget);

/* table.c */
bool gh_add_table(PyObject *module);
PyObject *gh_take_own(PyObject *table, PyObject *resource, PyObject *handle);
#endif
