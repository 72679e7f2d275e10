/* The life of one guest on its fiber.  Knows nothing of WIT: a host call is a slot number and flat values, a lowered
 * value is a plan.  Never holds or calls anything of Python's. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "internal.h"

enum { CODE_OUT_OF_FUEL = 11, SLICE_NS = 500000 };

static atomic_uint_fast64_t stores_made, stores_deleted;

static uint64_t now_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

gh_guest *gh_guest_new(void) { return calloc(1, sizeof(gh_guest)); }

void gh_guest_delete(gh_guest *guest) {
  free(guest->addresses);
  free(guest);
}

/* ---- what the library calls on the fiber ----------------------------------------------------------------------- */

static bool on_answer(void *environment) {
  gh_guest *guest = environment;
  if (guest->answer == ANSWER_NONE) return false;
  if (guest->answer == ANSWER_TRAP) *guest->trap_out = wasmtime_trap_new(guest->message, strlen(guest->message));
  guest->answer = ANSWER_NONE;
  guest->waiting = false;
  return true;
}

void gh_on_wait(void *environment, wasmtime_caller_t *caller, const wasmtime_val_t *args, size_t arg_count,
                wasmtime_val_t *results, size_t result_count, wasm_trap_t **trap,
                wasmtime_async_continuation_t *continuation) {
  gh_guest *guest = wasmtime_context_get_data(wasmtime_caller_context(caller));
  guest->trap_out = trap;
  guest->waiting = true;
  continuation->callback = on_answer;
  continuation->env = guest;
  continuation->finalizer = NULL;
}

static bool find_gate(gh_guest *guest) {
  wasmtime_extern_t item;
  if (!guest->has_gate && wasmtime_linker_get(guest->program->gate, guest->context, "", 0, "", 0, &item)) {
    guest->gate = item.of.func;
    guest->has_gate = true;
  }
  return guest->has_gate;
}

/* An import of the guest's.  It is no asynchronous function itself but calls one to wait: while an asynchronous function
 * is at work the library cannot begin another one, and aborts the process where the guest's cabi_realloc calls an import. */
wasm_trap_t *gh_on_host_call(void *import, wasmtime_caller_t *caller, wasmtime_val_raw_t *raw, size_t count) {
  wasmtime_context_t *context = wasmtime_caller_context(caller);
  gh_guest *guest = wasmtime_context_get_data(context);
  if (!guest->may_leave) return gh_trap_of(guest, GH_MAY_LEAVE, "a host call from inside cabi_realloc or post-return");
  if (!find_gate(guest)) return gh_trap_of(guest, GH_HOST, "the library has lost the function to wait in");
  uintptr_t bits = (uintptr_t)import;
  guest->slot = (uint32_t)(bits >> 32);
  for (size_t i = 0; i < count && i < MAX_VALUES; i++)
    guest->values[i] = bits >> (i + 8) & 1 ? (uint64_t)raw[i].i64 : (uint32_t)raw[i].i32;
  wasm_trap_t *trap = NULL;
  wasmtime_val_raw_t nothing;
  wasmtime_error_t *error = wasmtime_func_call_unchecked(context, &guest->gate, &nothing, 0, &trap);
  if (error) return gh_trap_of_error(error);
  if (!trap) trap = gh_lower_nested(guest);
  if (bits & 1) memcpy(raw, guest->flat, 8);
  return trap;
}

/* Whether a guest has used up its slice: of the processor's time, for the wall's passes while its thread has to wait, and a
 * guest that needs microseconds would be taken for a long one.  Asked at an epoch, so that most guests never pay for it. */
static bool slice_is_used(gh_guest *guest) {
  uint64_t used = now_ns(CLOCK_THREAD_CPUTIME_ID);
  if (!guest->measuring || !pthread_equal(guest->measured, pthread_self())) {
    guest->measuring = true;
    guest->measured = pthread_self();
    guest->measured_from_ns = used;
    return false;
  }
  if (used - guest->measured_from_ns < SLICE_NS) return false;
  guest->measuring = false;
  return true;
}

static wasmtime_error_t *on_epoch(wasmtime_context_t *context, void *data, uint64_t *delta, uint8_t *kind) {
  (void)context;
  gh_guest *guest = data;
  if (atomic_load_explicit(&guest->cancelled, memory_order_relaxed)) {
    guest->reason = GH_CANCELLED;
    return wasmtime_error_new("the invocation was cancelled");
  }
  if (now_ns(CLOCK_MONOTONIC) >= guest->deadline_ns) {
    guest->reason = GH_DEADLINE;
    return wasmtime_error_new("the deadline passed");
  }
  *delta = 1;
  *kind = WASMTIME_UPDATE_DEADLINE_CONTINUE;
  if (!slice_is_used(guest)) return NULL;
  if (guest->nested && ++guest->nested_slices > guest->limits->realloc_slices) {
    guest->reason = GH_REALLOC;
    return wasmtime_error_new("cabi_realloc ran too long inside a host call");
  }
  guest->slices++;
  *kind = WASMTIME_UPDATE_DEADLINE_YIELD;
  return NULL;
}

/* ---- the life of a guest --------------------------------------------------------------------------------------- */

static void keep_message(gh_guest *guest, wasm_byte_vec_t *text) {
  size_t size = text->size < sizeof guest->message - 1 ? text->size : sizeof guest->message - 1;
  memcpy(guest->message, text->data, size);
  guest->message[size] = 0;
  wasm_byte_vec_delete(text);
}

void gh_measure(gh_guest *guest) {
  uint64_t fuel = 0;
  wasmtime_error_t *error = wasmtime_context_get_fuel(guest->context, &fuel);
  if (error) wasmtime_error_delete(error);
  /* After a memory trap, and after an epoch ended the guest, the counter was still in a register. */
  bool by_epoch = guest->reason == GH_DEADLINE || guest->reason == GH_CANCELLED || guest->reason == GH_REALLOC;
  guest->fuel_known = guest->trap_code == CODE_OUT_OF_FUEL || (fuel != 0 && !by_epoch);
  guest->fuel_left = fuel;
  gh_refresh_memory(guest);
  guest->peak_memory = guest->memory_size;
}

static void delete_store(gh_guest *guest) {
  gh_measure(guest);
  guest->memory = NULL;
  guest->memory_size = 0;
  wasmtime_store_delete(guest->store);
  guest->store = NULL;
  atomic_fetch_add(&stores_deleted, 1);
}

static int fail(gh_guest *guest) {
  wasm_byte_vec_t text;
  uint8_t code;
  guest->trap_code = -1;
  if (guest->trap) {
    if (wasmtime_trap_code(guest->trap, &code)) guest->trap_code = code;
    wasm_trap_message(guest->trap, &text);
    wasm_trap_delete(guest->trap);
  } else {
    wasmtime_error_message(guest->error, &text);
    wasmtime_error_delete(guest->error);
  }
  guest->trap = NULL;
  guest->error = NULL;
  keep_message(guest, &text);
  delete_store(guest);
  return GH_FAILED;
}

static void begin_function(gh_guest *guest, const wasmtime_func_t *function, uint32_t args, uint32_t results) {
  guest->future = wasmtime_func_call_async(guest->context, function, guest->args, args, guest->results, results,
                                           &guest->trap, &guest->error);
}

static bool find(gh_guest *guest, const char *name, size_t size, uint8_t kind, wasmtime_extern_t *out) {
  return size && wasmtime_instance_export_get(guest->context, &guest->instance, name, size, out) && out->kind == kind;
}

/* Begins to lower the arguments: without blocks, the call itself is next. */
static bool begin_lowering(gh_guest *guest) {
  guest->phase = PHASE_LOWERING;
  guest->lowered = 0;
  return gh_place_root(guest, &guest->arguments);
}

static void lower_next(gh_guest *guest) {
  const gh_block *block = &guest->arguments.blocks[guest->lowered + 1];
  int32_t args[4] = {0, 0, (int32_t)block->align, (int32_t)block->size};
  for (int i = 0; i < 4; i++) {
    guest->args[i].kind = WASM_I32;
    guest->args[i].of.i32 = args[i];
  }
  guest->may_leave = false;
  begin_function(guest, &guest->realloc_func, 4, 1);
}

static bool begin_export(gh_guest *guest) {
  const gh_export *entry = guest->entry;
  wasmtime_extern_t item;
  guest->may_leave = true;
  guest->phase = PHASE_CALLING;
  if (!find(guest, entry->name, entry->name_size, WASMTIME_EXTERN_FUNC, &item)) return false;
  guest->current = item.of.func;
  for (uint32_t i = 0; i < entry->param_count; i++)
    gh_from_slot(&guest->args[i], entry->params[i], (const uint8_t *)&guest->flat[i]);
  begin_function(guest, &guest->current, entry->param_count, entry->result_count);
  return true;
}

bool gh_find_realloc(gh_guest *guest) {
  wasmtime_extern_t item;
  const char *name = guest->program->realloc_name;
  if (!guest->has_realloc && find(guest, name, strlen(name), WASMTIME_EXTERN_FUNC, &item)) {
    guest->realloc_func = item.of.func;
    guest->has_realloc = true;
  }
  return guest->has_realloc;
}

static void instantiated(gh_guest *guest) {
  wasmtime_extern_t item;
  const gh_program *program = guest->program;
  guest->has_memory = find(guest, program->memory, strlen(program->memory), WASMTIME_EXTERN_MEMORY, &item);
  if (guest->has_memory) guest->linear = item.of.memory;
}

static int stop(gh_guest *guest, const char *message) {
  guest->error = wasmtime_error_new(message);
  return fail(guest);
}

/* What comes after the future that has just ended well; -1: another future was begun. */
static int advance(gh_guest *guest) {
  wasmtime_extern_t item;
  if (guest->phase == PHASE_RETURNING) {
    guest->may_leave = true;
    guest->entry = guest->next;
    guest->phase = PHASE_INITIALIZING;
  }
  switch (guest->phase) {
    case PHASE_INSTANTIATING:
      instantiated(guest);
      guest->phase = PHASE_INITIALIZING;
      if (find(guest, guest->program->initialize, strlen(guest->program->initialize), WASMTIME_EXTERN_FUNC, &item)) {
        guest->current = item.of.func;
        begin_function(guest, &guest->current, 0, 0);
        return -1;
      }
      /* fall through */
    case PHASE_INITIALIZING:
      if (!begin_lowering(guest)) return stop(guest, "an argument does not fit into memory");
      /* fall through */
    case PHASE_LOWERING:
      if (guest->lowering) {
        guest->lowering = false;
        guest->lowered++;
        if (!gh_place(guest, &guest->arguments, guest->lowered, (uint32_t)guest->results[0].of.i32)) {
          guest->reason = GH_REALLOC;
          return stop(guest, "cabi_realloc answered a pointer that is outside memory or not aligned");
        }
      }
      if (guest->lowered + 1 < guest->arguments.block_count) {
        if (!gh_find_realloc(guest)) return stop(guest, "the guest exports no cabi_realloc");
        guest->lowering = true;
        lower_next(guest);
        return -1;
      }
      return begin_export(guest) ? -1 : stop(guest, "the export is missing");
    case PHASE_CALLING:
      if (guest->entry->result_count) guest->values[0] = gh_to_slot(&guest->results[0]);
      guest->phase = PHASE_CALLED;
      gh_refresh_memory(guest);
      return GH_DONE;
    default: /* nothing runs: not reached */
      return stop(guest, "there is nothing to go on with");
  }
}

static int run(gh_guest *guest) {
  if (!guest->future) return GH_FAILED;
  for (;;) {
    if (!wasmtime_call_future_poll(guest->future)) {
      gh_refresh_memory(guest);
      return guest->waiting ? GH_HOST_CALL : GH_YIELDED;
    }
    wasmtime_call_future_delete(guest->future);
    guest->future = NULL;
    if (guest->error || guest->trap) return fail(guest);
    int status = advance(guest);
    if (status >= 0) return status;
  }
}

static gh_plan plan_of(const uint8_t *blob, uint32_t flat, const uint8_t *blocks, uint32_t block_count) {
  return (gh_plan){blob, (const gh_block *)blocks, block_count, flat};
}

int gh_start(gh_guest *guest, const gh_target *target, uint64_t deadline_ns, const uint8_t *blob, uint32_t flat,
             const uint8_t *blocks, uint32_t block_count) {
  gh_program *program = target->program;
  const gh_limits *limits = target->limits;
  guest->program = program;
  guest->limits = limits;
  guest->deadline_ns = deadline_ns;
  guest->entry = &program->exports[target->export_index];
  guest->arguments = plan_of(blob, flat, blocks, block_count);
  guest->phase = PHASE_INSTANTIATING;
  guest->may_leave = true;
  guest->waiting = guest->lowering = guest->nested = guest->has_memory = guest->has_realloc = guest->has_gate = false;
  guest->measuring = false;
  guest->answer = ANSWER_NONE;
  guest->slices = 0;
  guest->reason = GH_TRAP;
  guest->trap_code = -1;
  guest->trap = NULL;
  guest->error = NULL;
  guest->store = wasmtime_store_new(program->engine, guest, NULL);
  atomic_fetch_add_explicit(&stores_made, 1, memory_order_relaxed);
  guest->context = wasmtime_store_context(guest->store);
  wasmtime_store_limiter(guest->store, limits->memory_bytes, limits->table_elements, 1, 1, 1);
  wasmtime_error_t *error = wasmtime_context_set_fuel(guest->context, limits->fuel);
  if (error) wasmtime_error_delete(error);
  wasmtime_store_epoch_deadline_callback(guest->store, on_epoch, guest, NULL);
  wasmtime_context_set_epoch_deadline(guest->context, 1);
  guest->future = wasmtime_instance_pre_instantiate_async(program->pre, guest->context, &guest->instance, &guest->trap,
                                                          &guest->error);
  return run(guest);
}

int gh_call(gh_guest *guest, const gh_target *target, const uint8_t *blob, uint32_t flat, const uint8_t *blocks,
            uint32_t block_count) {
  wasmtime_extern_t item;
  const gh_export *last = guest->entry;
  guest->next = &guest->program->exports[target->export_index];
  guest->arguments = plan_of(blob, flat, blocks, block_count);
  guest->phase = PHASE_RETURNING;
  if (!find(guest, last->post, last->post_size, WASMTIME_EXTERN_FUNC, &item)) {
    int status = advance(guest);
    return status >= 0 ? status : run(guest);
  }
  guest->current = item.of.func;
  guest->args[0] = guest->results[0];
  guest->may_leave = false;
  begin_function(guest, &guest->current, last->result_count, 0);
  return run(guest);
}

int gh_continue(gh_guest *guest) { return run(guest); }

int gh_answer(gh_guest *guest, const uint8_t *blob, uint32_t flat, const uint8_t *blocks, uint32_t block_count) {
  guest->reply = plan_of(blob, flat, blocks, block_count);
  guest->answer = ANSWER_PLAN;
  return run(guest);
}

int gh_answer_trap(gh_guest *guest, const char *message) {
  snprintf(guest->message, sizeof guest->message, "%s", message);
  guest->reason = GH_HOST;
  guest->answer = ANSWER_TRAP;
  return run(guest);
}

void gh_new_slice(gh_guest *guest) {
  guest->measuring = false;
  wasmtime_context_set_epoch_deadline(guest->context, 1);
}

void gh_renew(gh_guest *guest, const gh_target *target, uint64_t deadline_ns) {
  guest->limits = target->limits;
  guest->deadline_ns = deadline_ns;
  wasmtime_error_t *error = guest->store ? wasmtime_context_set_fuel(guest->context, guest->limits->fuel) : NULL;
  if (error) wasmtime_error_delete(error);
}

void gh_finish(gh_guest *guest) {
  if (guest->store) delete_store(guest); /* a signal may end the caller between this and what it does next */
}

void gh_request_cancel(gh_guest *guest) { atomic_store(&guest->cancelled, true); }

int gh_cancel(gh_guest *guest) {
  atomic_store(&guest->cancelled, true);
  /* One that yielded runs on until its next epoch, and may call the host or come to its end before that. */
  while (guest->future) {
    if (guest->waiting) gh_answer_trap(guest, "the invocation was cancelled");
    else run(guest);
  }
  guest->reason = GH_CANCELLED;
  if (guest->store) stop(guest, "the invocation was cancelled");
  atomic_store(&guest->cancelled, false);
  return GH_FAILED;
}

uint64_t gh_stores_made(void) { return atomic_load(&stores_made); }
uint64_t gh_stores_deleted(void) { return atomic_load(&stores_deleted); }
