/* The engine, modules and linking: what is made once and shared by many guests. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "internal.h"

enum { FIBER_FACTOR = 4 };

void gh_free(void *pointer) { free(pointer); }

/* Takes an error of the library's and gives its text, for the caller to free. */
char *gh_error_text(wasmtime_error_t *error) {
  wasm_byte_vec_t text;
  wasmtime_error_message(error, &text);
  char *copy = strndup(text.data, text.size);
  wasm_byte_vec_delete(&text);
  wasmtime_error_delete(error);
  return copy;
}

/* ---- engine ---------------------------------------------------------------------------------------------------- */

static void *tick(void *argument) {
  gh_engine *engine = argument;
  struct timespec pause = {0, (long)engine->tick_us * 1000};
  while (!atomic_load_explicit(&engine->stopping, memory_order_relaxed)) {
    nanosleep(&pause, NULL);
    wasmtime_engine_increment_epoch(engine->engine);
  }
  return NULL;
}

static void set_features(wasm_config_t *config) {
  wasmtime_config_wasm_threads_set(config, false);
  wasmtime_config_shared_memory_set(config, false);
  wasmtime_config_wasm_memory64_set(config, false);
  wasmtime_config_wasm_multi_memory_set(config, false);
  wasmtime_config_wasm_function_references_set(config, false);
  wasmtime_config_wasm_gc_set(config, false);
  wasmtime_config_gc_support_set(config, false);
  wasmtime_config_wasm_exceptions_set(config, false);
  wasmtime_config_wasm_tail_call_set(config, false);
  wasmtime_config_wasm_stack_switching_set(config, false);
  wasmtime_config_wasm_wide_arithmetic_set(config, false);
  wasmtime_config_wasm_custom_page_sizes_set(config, false);
  wasmtime_config_wasm_relaxed_simd_set(config, false);
}

/* The one place where an engine is configured: an artefact fits only an engine with the same settings. */
static wasm_config_t *make_config(const gh_config *c) {
  wasm_config_t *config = wasm_config_new();
  set_features(config);
  wasmtime_config_strategy_set(config, 1 /* Cranelift */);
  wasmtime_config_consume_fuel_set(config, true);
  wasmtime_config_epoch_interruption_set(config, true);
  wasmtime_config_cranelift_nan_canonicalization_set(config, true);
  wasmtime_config_signals_based_traps_set(config, true);
  wasmtime_config_memory_init_cow_set(config, true);
  wasmtime_config_memory_reservation_set(config, c->memory_reservation);
  wasmtime_config_memory_guard_size_set(config, c->memory_guard);
  wasmtime_config_max_wasm_stack_set(config, c->stack);
  wasmtime_config_async_stack_size_set(config, c->stack * FIBER_FACTOR);
  if (!c->pooling) {
    wasmtime_config_parallel_compilation_set(config, false);
    return config;
  }
  wasmtime_pooling_allocation_config_t *pool = wasmtime_pooling_allocation_config_new();
  wasmtime_pooling_allocation_config_total_core_instances_set(pool, c->slots);
  wasmtime_pooling_allocation_config_total_memories_set(pool, c->slots);
  wasmtime_pooling_allocation_config_total_tables_set(pool, c->slots);
  wasmtime_pooling_allocation_config_total_stacks_set(pool, c->slots);
  wasmtime_pooling_allocation_config_max_unused_warm_slots_set(pool, c->warm_slots);
  wasmtime_pooling_allocation_config_decommit_batch_size_set(pool, c->decommit_batch);
  wasmtime_pooling_allocation_config_linear_memory_keep_resident_set(pool, c->keep_resident);
  wasmtime_pooling_allocation_config_table_keep_resident_set(pool, c->keep_resident / 2);
  wasmtime_pooling_allocation_config_async_stack_keep_resident_set(pool, c->keep_resident / 2);
  wasmtime_pooling_allocation_config_max_core_instance_size_set(pool, 1 << 20);
  wasmtime_pooling_allocation_config_max_tables_per_module_set(pool, 1);
  wasmtime_pooling_allocation_config_table_elements_set(pool, c->table_elements);
  wasmtime_pooling_allocation_config_max_memory_size_set(pool, c->max_memory);
  wasmtime_pooling_allocation_strategy_set(config, pool);
  wasmtime_pooling_allocation_config_delete(pool);
  return config;
}

char *gh_engine_new(const gh_config *config, gh_engine **out) {
  wasm_engine_t *inner = wasm_engine_new_with_config(make_config(config));
  if (!inner) return strdup("the library refused the engine's configuration");
  gh_engine *engine = calloc(1, sizeof *engine);
  engine->engine = inner;
  engine->tick_us = config->tick_us;
  if (config->pooling && pthread_create(&engine->ticker, NULL, tick, engine)) {
    wasm_engine_delete(inner);
    free(engine);
    return strdup("the epoch ticker's thread could not be started");
  }
  engine->ticking = config->pooling;
  *out = engine;
  return NULL;
}

void gh_engine_delete(gh_engine *engine) {
  atomic_store(&engine->stopping, true);
  if (engine->ticking) pthread_join(engine->ticker, NULL);
  wasm_engine_delete(engine->engine);
  free(engine);
}

/* ---- modules and linking --------------------------------------------------------------------------------------- */

char *gh_compile(gh_engine *engine, const uint8_t *wasm, size_t size, uint8_t **artefact, size_t *artefact_size) {
  wasmtime_module_t *module;
  wasmtime_error_t *error = wasmtime_module_new(engine->engine, wasm, size, &module);
  if (error) return gh_error_text(error);
  wasm_byte_vec_t bytes;
  error = wasmtime_module_serialize(module, &bytes);
  wasmtime_module_delete(module);
  if (error) return gh_error_text(error);
  *artefact = malloc(bytes.size);
  memcpy(*artefact, bytes.data, bytes.size);
  *artefact_size = bytes.size;
  wasm_byte_vec_delete(&bytes);
  return NULL;
}

char *gh_load(gh_engine *engine, const uint8_t *artefact, size_t size, gh_module **out) {
  wasmtime_module_t *module;
  wasmtime_error_t *error = wasmtime_module_deserialize(engine->engine, artefact, size, &module);
  if (error) return gh_error_text(error);
  *out = (gh_module *)module;
  return NULL;
}

void gh_module_delete(gh_module *module) { wasmtime_module_delete((wasmtime_module_t *)module); }

gh_linker *gh_linker_new(gh_engine *engine) {
  gh_linker *linker = calloc(1, sizeof *linker);
  linker->engine = engine->engine;
  linker->linker = wasmtime_linker_new(engine->engine);
  return linker;
}

uint8_t gh_kind_of(char letter) {
  return letter == 'i' ? WASM_I32 : letter == 'I' ? WASM_I64 : letter == 'f' ? WASM_F32 : WASM_F64;
}

static void value_types(const char *letters, wasm_valtype_vec_t *out) {
  size_t count = strlen(letters);
  wasm_valtype_vec_new_uninitialized(out, count);
  for (size_t i = 0; i < count; i++) out->data[i] = wasm_valtype_new(gh_kind_of(letters[i]));
}

/* What an import's callback is told, in the bits of a pointer: its slot, which parameters have 64 bits, and whether it has
 * a result. */
static void *import_of(uint32_t slot, const char *params, const char *results) {
  uintptr_t wide = 0;
  for (int i = 0; params[i]; i++) wide |= (uintptr_t)(params[i] == 'I' || params[i] == 'F') << i;
  return (void *)((uintptr_t)slot << 32 | wide << 8 | (*results != 0));
}

char *gh_linker_define(gh_linker *linker, const char *module, size_t module_size, const char *name, size_t name_size,
                       const char *params, const char *results, uint32_t slot) {
  if (strlen(params) > MAX_VALUES || strlen(results) > 1) return strdup("the import has too many values");
  wasm_valtype_vec_t param_types, result_types;
  value_types(params, &param_types);
  value_types(results, &result_types);
  wasm_functype_t *type = wasm_functype_new(&param_types, &result_types);
  wasmtime_error_t *error = wasmtime_linker_define_func_unchecked(linker->linker, module, module_size, name, name_size, type,
                                                                  gh_on_host_call, import_of(slot, params, results), NULL);
  wasm_functype_delete(type);
  return error ? gh_error_text(error) : NULL;
}

void gh_linker_delete(gh_linker *linker) {
  wasmtime_linker_delete(linker->linker);
  free(linker);
}

/* The one asynchronous function: guests never see it, every host call waits in it (see gh_on_host_call). */
static wasmtime_linker_t *make_gate(wasm_engine_t *engine) {
  wasmtime_linker_t *gate = wasmtime_linker_new(engine);
  wasm_valtype_vec_t params, results;
  value_types("", &params);
  value_types("", &results);
  wasm_functype_t *type = wasm_functype_new(&params, &results);
  wasmtime_error_t *error = wasmtime_linker_define_async_func(gate, "", 0, "", 0, type, gh_on_wait, NULL, NULL);
  if (error) wasmtime_error_delete(error); /* only a name defined twice is one */
  wasm_functype_delete(type);
  return gate;
}

char *gh_program_new(gh_linker *linker, gh_module *module, const char *memory, const char *realloc_name,
                     const char *initialize, gh_program **out) {
  wasmtime_instance_pre_t *pre;
  wasmtime_error_t *error = wasmtime_linker_instantiate_pre(linker->linker, (wasmtime_module_t *)module, &pre);
  if (error) return gh_error_text(error);
  gh_program *program = calloc(1, sizeof *program);
  program->engine = linker->engine;
  program->pre = pre;
  program->gate = make_gate(linker->engine);
  program->memory = strdup(memory);
  program->realloc_name = strdup(realloc_name);
  program->initialize = strdup(initialize);
  *out = program;
  return NULL;
}

int32_t gh_program_export(gh_program *program, const char *name, const char *post, const char *params,
                          const char *results) {
  if (strlen(params) > MAX_VALUES || strlen(results) > 1) return -1;
  program->exports = realloc(program->exports, (program->export_count + 1) * sizeof *program->exports);
  gh_export *entry = &program->exports[program->export_count];
  *entry = (gh_export){strdup(name), strlen(name), strdup(post), strlen(post), strdup(params),
                       (uint32_t)strlen(params), (uint32_t)strlen(results), *results};
  return (int32_t)program->export_count++;
}

void gh_program_delete(gh_program *program) {
  for (uint32_t i = 0; i < program->export_count; i++) {
    free(program->exports[i].name);
    free(program->exports[i].post);
    free(program->exports[i].params);
  }
  wasmtime_instance_pre_delete(program->pre);
  wasmtime_linker_delete(program->gate);
  free(program->exports);
  free(program->memory);
  free(program->realloc_name);
  free(program->initialize);
  free(program);
}
