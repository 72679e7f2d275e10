/* The floor: what one call of a Momento web guest costs an embedder that is written in C for this one interface.
 *
 *     floor SLOTS WARM BATCH RESIDENT MEMORY ELEMENTS STACK RESERVATION GUARD TICK_US core.wasm…
 *
 * reads lines `PROGRAM handle|value BYTES CALLS`, makes that many calls, each in a fresh store and instance under fuel,
 * epochs and a limiter, and answers each line with one of JSON: p50, p99 and mean in µs, and the nanoseconds of each call.
 * It is synchronous: no fiber, no suspension.  The canonical ABI is written out by hand for the interface's one function. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "wasmtime_sync.h"

#define INVOKE "momento:web-function/guest-function-web@1.0.0#invoke"
#define BYTES "momento:bytes/bytes@1.0.0"
enum { MAX_PROGRAMS = 16, MAX_BODY = 16 << 20, MAX_CALLS = 1 << 20, HANDLES = 8, HEADER_ROOM = 1 << 16, FIBER_FACTOR = 4 };
enum { FUEL = 1000000000, EPOCHS = 1000 };

typedef struct {
  wasmtime_instance_pre_t *pre;
} program_t;

/* What the host knows of one invocation: its request buffers, and where its memory is. */
typedef struct {
  bool alive[HANDLES];
  size_t cursor[HANDLES];
  size_t size;
  wasmtime_func_t realloc_func;
  wasmtime_memory_t memory;
} call_t;

typedef struct {
  uint16_t status;
  uint32_t header_count;
  const uint8_t *body;
  size_t body_size;
} response_t;

static wasm_engine_t *engine;
static program_t programs[MAX_PROGRAMS];
static uint64_t max_memory;
static uint32_t tick_us;
static uint8_t *request, *answer, header_copy[HEADER_ROOM];
static uint64_t samples[MAX_CALLS];

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what) {
  fprintf(stderr, "floor: %s\n", what);
  exit(1);
}

static void check(const char *what, wasmtime_error_t *error, wasm_trap_t *trap) {
  if (!error && !trap) return;
  wasm_byte_vec_t text;
  if (error) wasmtime_error_message(error, &text);
  else wasm_trap_message(trap, &text);
  fprintf(stderr, "floor: %s: %.*s\n", what, (int)text.size, text.data);
  exit(1);
}

/* ---- the host's functions --------------------------------------------------------------------------------------- */

static wasm_trap_t *trap(const char *message) { return wasmtime_trap_new(message, strlen(message)); }

static call_t *call_of(wasmtime_caller_t *caller) { return wasmtime_context_get_data(wasmtime_caller_context(caller)); }

static bool is_alive(const call_t *call, uint32_t handle) { return handle < HANDLES && call->alive[handle]; }

static wasm_trap_t *drop_buffer(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *v, size_t count) {
  (void)env, (void)count;
  call_t *call = call_of(caller);
  if (!is_alive(call, (uint32_t)v[0].i32)) return trap("a bad handle");
  call->alive[v[0].i32] = false;
  return NULL;
}

static wasm_trap_t *buffer_remaining(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *v, size_t count) {
  (void)env, (void)count;
  call_t *call = call_of(caller);
  if (!is_alive(call, (uint32_t)v[0].i32)) return trap("a bad handle");
  v[0].i32 = (int32_t)(call->size - call->cursor[v[0].i32]);
  return NULL;
}

/* Copies bytes into memory that the guest allocates; its address, or 0 with a trap. */
static uint32_t lower_bytes(wasmtime_context_t *context, call_t *call, const uint8_t *bytes, size_t size, wasm_trap_t **out) {
  wasmtime_val_raw_t v[4] = {{.i64 = 0}, {.i64 = 0}, {.i64 = 1}, {.i64 = (int64_t)size}};
  check("cabi_realloc", wasmtime_func_call_unchecked(context, &call->realloc_func, v, 4, out), *out);
  uint32_t pointer = (uint32_t)v[0].i32;
  if ((uint64_t)pointer + size > wasmtime_memory_data_size(context, &call->memory)) *out = trap("cabi_realloc: out of bounds");
  else memcpy(wasmtime_memory_data(context, &call->memory) + pointer, bytes, size);
  return pointer;
}

static wasm_trap_t *buffer_read(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *v, size_t count) {
  (void)env, (void)count;
  wasmtime_context_t *context = wasmtime_caller_context(caller);
  call_t *call = call_of(caller);
  uint32_t handle = (uint32_t)v[0].i32, most = (uint32_t)v[1].i32, at = (uint32_t)v[2].i32;
  if (!is_alive(call, handle)) return trap("a bad handle");
  if ((at & 3) || (uint64_t)at + 12 > wasmtime_memory_data_size(context, &call->memory)) return trap("a bad return pointer");
  uint32_t left = (uint32_t)(call->size - call->cursor[handle]), pointer = 0;
  if (left > most) left = most;
  wasm_trap_t *problem = NULL;
  if (left) pointer = lower_bytes(context, call, request + call->cursor[handle], left, &problem);
  if (problem) return problem;
  uint8_t *result = wasmtime_memory_data(context, &call->memory) + at;
  result[0] = left != 0;
  memcpy(result + 4, &pointer, 4);
  memcpy(result + 8, &left, 4);
  call->cursor[handle] += left;
  return NULL;
}

/* ---- making the programs ---------------------------------------------------------------------------------------- */

static void define(wasmtime_linker_t *linker, const char *name, size_t params, size_t results,
                   wasmtime_func_unchecked_callback_t function) {
  wasm_valtype_vec_t param_types, result_types;
  wasm_valtype_vec_new_uninitialized(&param_types, params);
  wasm_valtype_vec_new_uninitialized(&result_types, results);
  for (size_t i = 0; i < params; i++) param_types.data[i] = wasm_valtype_new(WASM_I32);
  for (size_t i = 0; i < results; i++) result_types.data[i] = wasm_valtype_new(WASM_I32);
  wasm_functype_t *type = wasm_functype_new(&param_types, &result_types);
  check(name, wasmtime_linker_define_func_unchecked(linker, BYTES, strlen(BYTES), name, strlen(name), type, function, NULL, NULL), NULL);
  wasm_functype_delete(type);
}

static void load(program_t *program, const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) fail(path);
  uint8_t *wasm = malloc(MAX_BODY);
  size_t size = fread(wasm, 1, MAX_BODY, file);
  fclose(file);
  wasmtime_module_t *module;
  check(path, wasmtime_module_new(engine, wasm, size, &module), NULL);
  free(wasm);
  wasmtime_linker_t *linker = wasmtime_linker_new(engine);
  define(linker, "[resource-drop]buffer", 1, 0, drop_buffer);
  define(linker, "[method]buffer.remaining", 1, 1, buffer_remaining);
  define(linker, "[method]buffer.read", 3, 0, buffer_read);
  check(path, wasmtime_linker_define_unknown_imports_as_traps(linker, module), NULL);
  check(path, wasmtime_linker_instantiate_pre(linker, module, &program->pre), NULL);
  wasmtime_linker_delete(linker);
}

static wasm_config_t *configure(const uint64_t *n) {
  wasm_config_t *config = wasm_config_new();
  wasmtime_pooling_allocation_config_t *pool = wasmtime_pooling_allocation_config_new();
  wasmtime_config_consume_fuel_set(config, true);
  wasmtime_config_epoch_interruption_set(config, true);
  wasmtime_config_cranelift_nan_canonicalization_set(config, true);
  wasmtime_config_memory_init_cow_set(config, true);
  wasmtime_config_gc_support_set(config, false);
  wasmtime_config_max_wasm_stack_set(config, n[6]);
  wasmtime_config_async_stack_size_set(config, n[6] * FIBER_FACTOR);
  wasmtime_config_memory_reservation_set(config, n[7]);
  wasmtime_config_memory_guard_size_set(config, n[8]);
  wasmtime_pooling_allocation_config_total_core_instances_set(pool, (uint32_t)n[0]);
  wasmtime_pooling_allocation_config_total_memories_set(pool, (uint32_t)n[0]);
  wasmtime_pooling_allocation_config_total_tables_set(pool, (uint32_t)n[0]);
  wasmtime_pooling_allocation_config_total_stacks_set(pool, (uint32_t)n[0]);
  wasmtime_pooling_allocation_config_max_unused_warm_slots_set(pool, (uint32_t)n[1]);
  wasmtime_pooling_allocation_config_decommit_batch_size_set(pool, n[2]);
  wasmtime_pooling_allocation_config_linear_memory_keep_resident_set(pool, n[3]);
  wasmtime_pooling_allocation_config_table_keep_resident_set(pool, n[3] / 2);
  wasmtime_pooling_allocation_config_async_stack_keep_resident_set(pool, n[3] / 2);
  wasmtime_pooling_allocation_config_max_core_instance_size_set(pool, 1 << 20);
  wasmtime_pooling_allocation_config_max_tables_per_module_set(pool, 1);
  wasmtime_pooling_allocation_config_max_memory_size_set(pool, n[4]);
  wasmtime_pooling_allocation_config_table_elements_set(pool, n[5]);
  wasmtime_pooling_allocation_strategy_set(config, pool);
  wasmtime_pooling_allocation_config_delete(pool);
  return config;
}

static void *tick(void *argument) {
  struct timespec pause = {0, (long)tick_us * 1000};
  for (;;) {
    nanosleep(&pause, NULL);
    wasmtime_engine_increment_epoch(engine);
  }
  return argument;
}

/* ---- one call --------------------------------------------------------------------------------------------------- */

static uint32_t word(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return value;
}

/* `record { status: u16, headers: list<record { name: string, value: string }>, body: variant { buffer, value } }` */
static response_t lift(wasmtime_context_t *context, call_t *call, uint32_t at) {
  const uint8_t *memory = wasmtime_memory_data(context, &call->memory);
  uint64_t size = wasmtime_memory_data_size(context, &call->memory);
  if ((at & 3) || (uint64_t)at + 24 > size) fail("a bad response pointer");
  response_t response = {.header_count = word(memory + at + 8)};
  memcpy(&response.status, memory + at, 2);
  uint64_t headers = word(memory + at + 4), used = 0;
  if (headers + (uint64_t)response.header_count * 16 > size) fail("headers out of bounds");
  for (uint32_t i = 0; i < response.header_count * 2; i++) {
    uint64_t text = word(memory + headers + i * 8), length = word(memory + headers + i * 8 + 4);
    if (text + length > size || used + length > HEADER_ROOM) fail("a header out of bounds");
    memcpy(header_copy + used, memory + text, length);
    used += length;
  }
  uint32_t first = word(memory + at + 16);
  response.body_size = word(memory + at + 20);
  if (memory[at + 12]) {
    if (first + (uint64_t)response.body_size > size) fail("the body is out of bounds");
    memcpy(answer, memory + first, response.body_size);
    response.body = answer;
  } else {
    if (!is_alive(call, first)) fail("a bad body handle");
    call->alive[first] = false;
    response.body = request + call->cursor[first];
    response.body_size = call->size - call->cursor[first];
  }
  return response;
}

static wasmtime_func_t function_of(wasmtime_context_t *context, const wasmtime_instance_t *instance, const char *name, size_t size) {
  wasmtime_extern_t item;
  if (!wasmtime_instance_export_get(context, instance, name, size, &item) || item.kind != WASMTIME_EXTERN_FUNC) fail(name);
  return item.of.func;
}

static void invoke(const program_t *program, bool by_handle, size_t size) {
  call_t call = {.alive = {false, by_handle}, .size = size};
  wasmtime_store_t *store = wasmtime_store_new(engine, &call, NULL);
  wasmtime_context_t *context = wasmtime_store_context(store);
  wasmtime_store_limiter(store, (int64_t)max_memory, -1, 1, 1, 1);
  check("fuel", wasmtime_context_set_fuel(context, FUEL), NULL);
  wasmtime_context_set_epoch_deadline(context, EPOCHS);
  wasmtime_instance_t instance;
  wasm_trap_t *problem = NULL;
  check("instance", wasmtime_instance_pre_instantiate(program->pre, context, &instance, &problem), problem);
  wasmtime_extern_t memory;
  if (!wasmtime_instance_export_get(context, &instance, "memory", 6, &memory)) fail("no memory");
  call.memory = memory.of.memory;
  call.realloc_func = function_of(context, &instance, "cabi_realloc", 12);
  wasmtime_func_t function = function_of(context, &instance, INVOKE, sizeof INVOKE - 1);
  wasmtime_val_raw_t v[3] = {{.i64 = 0}, {.i64 = 1}, {.i64 = 0}};
  if (!by_handle) {
    v[0].i64 = 1;
    v[1].i64 = lower_bytes(context, &call, request, size, &problem);
    v[2].i64 = (int64_t)size;
    check("lowering", NULL, problem);
  }
  check("invoke", wasmtime_func_call_unchecked(context, &function, v, 3, &problem), problem);
  response_t response = lift(context, &call, (uint32_t)v[0].i32);
  wasmtime_func_t post = function_of(context, &instance, "cabi_post_" INVOKE, sizeof "cabi_post_" INVOKE - 1);
  check("post-return", wasmtime_func_call_unchecked(context, &post, v, 1, &problem), problem);
  wasmtime_store_delete(store);
  size_t compared = size < 64 ? size : 64;
  if (response.status != 200 || response.body_size != size || memcmp(response.body, request, compared)) fail("a wrong answer");
}

/* ---- rounds ----------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void report(uint32_t calls) {
  uint64_t total = 0;
  printf("{\"ns\":[");
  for (uint32_t i = 0; i < calls; i++) {
    total += samples[i];
    printf(i ? ",%lu" : "%lu", (unsigned long)samples[i]);
  }
  qsort(samples, calls, sizeof *samples, compare);
  printf("],\"p50\":%.3f,\"p99\":%.3f,\"mean\":%.3f}\n", (double)samples[calls / 2] / 1e3,
         (double)samples[(uint64_t)calls * 99 / 100] / 1e3, (double)total / 1e3 / calls);
  fflush(stdout);
}

int main(int argc, char **argv) {
  if (argc < 12 || argc > 11 + MAX_PROGRAMS) fail("the engine's ten numbers, and at least one module");
  uint64_t numbers[10];
  for (int i = 0; i < 10; i++) numbers[i] = strtoull(argv[i + 1], NULL, 10);
  max_memory = numbers[4];
  tick_us = (uint32_t)numbers[9];
  engine = wasm_engine_new_with_config(configure(numbers));
  if (!engine) fail("the library refused the configuration");
  request = malloc(MAX_BODY);
  answer = malloc(MAX_BODY);
  for (size_t i = 0; i < MAX_BODY; i++) request[i] = (uint8_t)('a' + i % 26);
  for (int i = 11; i < argc; i++) load(&programs[i - 11], argv[i]);
  pthread_t ticker;
  if (pthread_create(&ticker, NULL, tick, NULL)) fail("no thread");
  unsigned program, calls;
  size_t size;
  char mode[8];
  while (scanf("%u %7s %zu %u", &program, mode, &size, &calls) == 4) {
    if (program >= (unsigned)(argc - 11) || size > MAX_BODY || !calls || calls > MAX_CALLS) fail("a bad line");
    bool by_handle = mode[0] == 'h';
    for (uint32_t i = 0; i < calls; i++) {
      uint64_t start = now_ns();
      invoke(&programs[program], by_handle, size);
      samples[i] = now_ns() - start;
    }
    report(calls);
  }
  return 0;
}
