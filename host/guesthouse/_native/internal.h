/* What engine.c and guest.c share and Python does not see.  The public structs stand in glue.h, which build.py hands to
 * the C compiler too; only gh_guest has private fields, so it is written out here with them. */
#ifndef GUESTHOUSE_INTERNAL_H
#define GUESTHOUSE_INTERNAL_H
#include <pthread.h>
#include <stdatomic.h>
#include "wasmtime.h"

enum { MAX_VALUES = 17 };

#define GH_GUEST_PRIVATE \
  gh_program *program; \
  const gh_limits *limits; \
  const gh_export *entry;       /* that is called, or was called last */ \
  const gh_export *next;        /* to be called after the post-return of the last one */ \
  gh_plan arguments, reply;     /* of the call, and of the host call that is being answered */ \
  gh_answer_kind answer; \
  wasmtime_store_t *store; \
  wasmtime_context_t *context; \
  wasmtime_instance_t instance; \
  wasmtime_memory_t linear; \
  wasmtime_func_t realloc_func, current, gate; \
  /* all that a future uses must stay where it is until the future ends */ \
  wasmtime_call_future_t *future; \
  wasm_trap_t *trap; \
  wasmtime_error_t *error; \
  wasmtime_val_t args[MAX_VALUES], results[1]; \
  wasm_trap_t **trap_out;       /* of the waiting host call */ \
  uint64_t flat[MAX_VALUES];    /* core values of the plan that is carried out */ \
  uint32_t *addresses;          /* where its blocks lie */ \
  uint32_t address_room, lowered; \
  uint64_t deadline_ns; \
  pthread_t measured;           /* the thread whose processor time the slice is measured by */ \
  uint64_t measured_from_ns; \
  uint32_t nested_slices;       /* that the cabi_realloc inside the host call has used */ \
  gh_phase phase; \
  bool has_memory, has_realloc, has_gate, lowering, waiting, may_leave, nested, measuring; \
  atomic_bool cancelled;

typedef enum {
  PHASE_INSTANTIATING, PHASE_INITIALIZING, PHASE_LOWERING, PHASE_CALLING, PHASE_CALLED, PHASE_RETURNING
} gh_phase;

typedef enum { ANSWER_NONE, ANSWER_PLAN, ANSWER_TRAP } gh_answer_kind;

/* A lowered value: its bytes, and what lies where in them. */
typedef struct {
  const uint8_t *blob;
  const struct gh_block *blocks;
  uint32_t block_count;
  uint32_t flat;
} gh_plan;

typedef struct {
  char *name;
  size_t name_size;
  char *post;
  size_t post_size;
  char *params;
  uint32_t param_count, result_count;
  char result;
} gh_export;

#include "glue_generated.h"

struct gh_engine {
  wasm_engine_t *engine;
  pthread_t ticker;
  uint32_t tick_us;
  bool ticking;
  atomic_bool stopping;
};

struct gh_linker {
  wasm_engine_t *engine;
  wasmtime_linker_t *linker;
};

struct gh_program {
  wasm_engine_t *engine;
  wasmtime_instance_pre_t *pre;
  wasmtime_linker_t *gate;      /* holds the function that host calls wait in */
  char *memory, *realloc_name, *initialize;
  gh_export *exports;
  uint32_t export_count;
};

uint8_t gh_kind_of(char letter);
char *gh_load(gh_engine *engine, const uint8_t *artefact, size_t size, gh_module **out);

/* Takes an error of the library's and gives its text, for the caller to free. */
char *gh_error_text(wasmtime_error_t *error);
wasm_trap_t *gh_on_host_call(void *import, wasmtime_caller_t *caller, wasmtime_val_raw_t *raw, size_t count);
void gh_on_wait(void *environment, wasmtime_caller_t *caller, const wasmtime_val_t *args, size_t arg_count,
                wasmtime_val_t *results, size_t result_count, wasm_trap_t **trap,
                wasmtime_async_continuation_t *continuation);

/* guest.c: looks for the guest's cabi_realloc when it is first needed. */
bool gh_find_realloc(gh_guest *guest);
int gh_call(gh_guest *guest, const gh_target *target, const uint8_t *blob, uint32_t flat, const uint8_t *blocks,
            uint32_t block_count);

/* lower.c */
uint64_t gh_to_slot(const wasmtime_val_t *value);
void gh_from_slot(wasmtime_val_t *value, char letter, const uint8_t *slot);
void gh_refresh_memory(gh_guest *guest);
bool gh_place(gh_guest *guest, const gh_plan *plan, uint32_t index, uint32_t pointer);
bool gh_place_root(gh_guest *guest, const gh_plan *plan);
wasm_trap_t *gh_trap_of(gh_guest *guest, int32_t reason, const char *message);
wasm_trap_t *gh_trap_of_error(wasmtime_error_t *error);
wasm_trap_t *gh_lower_nested(gh_guest *guest);
#endif
