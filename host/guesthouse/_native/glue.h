/* What Python sees of the glue.  build.py gives this file to cffi as it stands, so it holds plain declarations only.
 *
 * A guest runs on a wasmtime fiber.  Every import suspends: C keeps the flat arguments in the guest, Python answers on
 * its own thread's stack, and the answer is a plan (see gh_plan) that C carries out when the guest is resumed. */

enum { GH_DONE = 0, GH_HOST_CALL = 1, GH_YIELDED = 2, GH_FAILED = 3 };
enum {
  GH_TRAP = 0,       /* the guest's own: trap_code says which */
  GH_DEADLINE = 1,
  GH_CANCELLED = 2,
  GH_REALLOC = 3,    /* cabi_realloc answered a bad pointer, or ran too long inside a host call */
  GH_MAY_LEAVE = 4,  /* a host call from inside cabi_realloc or post-return */
  GH_HOST = 5,       /* the trap that the host answered a call with */
};

typedef struct {
  bool pooling;                 /* false in the process that only compiles */
  uint32_t slots;               /* instances alive at once */
  uint32_t warm_slots;
  uint32_t decommit_batch;
  uint64_t keep_resident;       /* bytes of each memory, table or stack that stay resident between uses */
  uint64_t max_memory;
  uint64_t table_elements;
  uint64_t stack;               /* WebAssembly stack in bytes; fibers get 4 times as much */
  uint64_t memory_reservation;
  uint64_t memory_guard;
  uint32_t tick_us;             /* epoch length */
} gh_config;

/* Bounds of one deployment. */
typedef struct {
  uint64_t fuel;
  int64_t memory_bytes;
  int64_t table_elements;
  uint32_t realloc_slices;      /* that one cabi_realloc inside a host call may use; a slice is one to two epochs */
} gh_limits;

/* One allocation of a lowered value, in the order in which the canonical ABI allocates.  Block 0 is the root: it is not
 * allocated, but lies at `at` in guest memory, or is the flat core values (parent says which). */
typedef struct gh_block {
  uint32_t align;
  uint32_t size;
  uint32_t blob;                /* where its bytes begin in the blob */
  uint32_t parent;              /* block that points to it, or GH_ROOT_* */
  uint32_t at;                  /* offset of that pointer in the parent; of a root in memory: its address */
} gh_block;
enum { GH_ROOT_MEMORY = 0xffffffff, GH_ROOT_FLAT = 0xfffffffe };

typedef struct gh_engine gh_engine;
typedef struct gh_module gh_module;
typedef struct gh_linker gh_linker;
typedef struct gh_program gh_program;   /* a module linked and ready to be instantiated (wasmtime's InstancePre) */

/* What one deployment calls: an export of a program under limits. */
typedef struct {
  gh_program *program;
  const gh_limits *limits;
  int32_t export_index;
} gh_target;

/* One invocation's instance.  The struct may be used again after GH_DONE of gh_finish or GH_FAILED. */
typedef struct {
  uint8_t *memory;              /* fetched anew before every return */
  uint64_t memory_size;
  uint64_t values[17];          /* arguments of the waiting host call, or the result of the finished call; i32 zero-extended */
  uint64_t fuel_left;
  uint64_t peak_memory;
  bool fuel_known;
  uint32_t slot;                /* which import waits */
  uint32_t slices;              /* how often it yielded */
  int32_t reason;               /* GH_TRAP … after GH_FAILED */
  int32_t trap_code;            /* wasmtime's, or -1 */
  char message[1024];
  ...;
} gh_guest;

gh_guest *gh_guest_new(void);
void gh_guest_delete(gh_guest *guest);

/* Those that return char * return NULL, or what went wrong: to be given back to gh_free. */
void gh_free(void *pointer);
char *gh_engine_new(const gh_config *config, gh_engine **engine);
void gh_engine_delete(gh_engine *engine);
char *gh_compile(gh_engine *engine, const uint8_t *wasm, size_t size, uint8_t **artefact, size_t *artefact_size);
/* Without the GIL: it takes milliseconds. */
char *gh_module_load(gh_engine *engine, const uint8_t *artefact, size_t size, gh_module **module);
void gh_module_delete(gh_module *module);
gh_linker *gh_linker_new(gh_engine *engine);
char *gh_linker_define(gh_linker *linker, const char *module, size_t module_size, const char *name, size_t name_size,
                       const char *params, const char *results, uint32_t slot);
void gh_linker_delete(gh_linker *linker);
char *gh_program_new(gh_linker *linker, gh_module *module, const char *memory, const char *realloc_name,
                     const char *initialize, gh_program **program);
int32_t gh_program_export(gh_program *program, const char *name, const char *post, const char *params,
                          const char *results);
void gh_program_delete(gh_program *program);

/* A lowered value is handed over as `blob`, and either `flat` core values of 8 bytes in it, or `block_count` blocks that
 * say what lies where in it; both must stay where they are until the next GH_ status. */

/* Instantiates a program and calls the export with the lowered arguments. */
int gh_start(gh_guest *guest, const gh_target *target, uint64_t deadline_ns, const uint8_t *blob, uint32_t flat,
             const uint8_t *blocks, uint32_t block_count);
/* Runs a guest that yielded for one more slice. */
int gh_continue(gh_guest *guest);
/* Answers the waiting host call with a lowered value, or with a trap, and runs on. */
int gh_answer(gh_guest *guest, const uint8_t *blob, uint32_t flat, const uint8_t *blocks, uint32_t block_count);
int gh_answer_trap(gh_guest *guest, const char *message);
/* After a call that is done: deletes the store, the end of a good invocation.  Post-return is left out: it could only give
 * memory back that goes with the store anyway, for it may not call the host. */
void gh_finish(gh_guest *guest);
/* After a call that is done, where another one follows: fetches what was used so far. */
void gh_measure(gh_guest *guest);
/* Ends a guest in whatever state it is, also one that never started; GH_FAILED. */
int gh_cancel(gh_guest *guest);
/* Gives a guest that waited for something outside a whole slice again; its next epoch would end the old one at once. */
void gh_new_slice(gh_guest *guest);
/* Gives a guest that waits in a host call a new deadline, and the limits of another target: from now on with all of its fuel. */
void gh_renew(gh_guest *guest, const gh_target *target, uint64_t deadline_ns);
/* Asks a guest that may be running in another thread to end at its next epoch. */
void gh_request_cancel(gh_guest *guest);
/* The same without the GIL, which all others keep (see build.py). */
int gh_start_released(gh_guest *guest, const gh_target *target, uint64_t deadline_ns, const uint8_t *blob, uint32_t flat,
                      const uint8_t *blocks, uint32_t block_count);
int gh_continue_released(gh_guest *guest);
/* After a call that is done: runs its post-return, if it has one, and then calls another export of the same instance; the
 * deadline and the limits are those that it was started with. */
int gh_call_released(gh_guest *guest, const gh_target *target, const uint8_t *blob, uint32_t flat, const uint8_t *blocks,
                     uint32_t block_count);
int gh_answer_released(gh_guest *guest, const uint8_t *blob, uint32_t flat, const uint8_t *blocks, uint32_t block_count);

/* Counters for the tests: stores made and deleted since the process began. */
uint64_t gh_stores_made(void);
uint64_t gh_stores_deleted(void);
