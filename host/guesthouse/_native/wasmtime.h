/* The part of wasmtime's C API that the glue uses.  The Python wheel ships no headers, so these declarations are ours;
 * build.py checks every one of them against the bindings of the installed wheel before it compiles. */
#ifndef GUESTHOUSE_WASMTIME_H
#define GUESTHOUSE_WASMTIME_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct wasm_config_t wasm_config_t;
typedef struct wasm_engine_t wasm_engine_t;
typedef struct wasm_trap_t wasm_trap_t;
typedef struct wasm_valtype_t wasm_valtype_t;
typedef struct wasm_functype_t wasm_functype_t;
typedef struct wasmtime_error wasmtime_error_t;
typedef struct wasmtime_module wasmtime_module_t;
typedef struct wasmtime_linker wasmtime_linker_t;
typedef struct wasmtime_instance_pre wasmtime_instance_pre_t;
typedef struct wasmtime_store wasmtime_store_t;
typedef struct wasmtime_context wasmtime_context_t;
typedef struct wasmtime_caller wasmtime_caller_t;
typedef struct wasmtime_call_future wasmtime_call_future_t;
typedef struct wasmtime_pooling_allocation_config wasmtime_pooling_allocation_config_t;

typedef struct { size_t size; char *data; } wasm_byte_vec_t;
typedef struct { size_t size; wasm_valtype_t **data; } wasm_valtype_vec_t;

typedef struct { uint64_t store_id; void *priv; } wasmtime_func_t;
typedef struct { uint64_t store_id; uint32_t priv1; } wasmtime_memory_anon_t;
typedef struct { wasmtime_memory_anon_t anon; uint32_t priv2; } wasmtime_memory_t;
typedef struct { uint64_t store_id; size_t priv; } wasmtime_instance_t;
typedef struct { uint64_t store_id; uint32_t priv1, priv2; void *priv3; } wasmtime_ref_t;
typedef union { wasmtime_func_t func; wasmtime_memory_t memory; uint64_t room[3]; } wasmtime_extern_union_t;
typedef struct { uint8_t kind; wasmtime_extern_union_t of; } wasmtime_extern_t;
typedef union { int32_t i32; int64_t i64; float f32; double f64; wasmtime_ref_t ref; uint8_t v128[16]; } wasmtime_valunion_t;
typedef struct { uint8_t kind; wasmtime_valunion_t of; } wasmtime_val_t;
typedef union { int32_t i32; int64_t i64; float f32; double f64; uint8_t v128[16]; void *funcref; } wasmtime_val_raw_t;
typedef bool (*wasmtime_func_async_continuation_callback_t)(void *env);
typedef struct {
  wasmtime_func_async_continuation_callback_t callback;
  void *env;
  void (*finalizer)(void *);
} wasmtime_async_continuation_t;
typedef void (*wasmtime_func_async_callback_t)(void *env, wasmtime_caller_t *caller, const wasmtime_val_t *args,
                                               size_t nargs, wasmtime_val_t *results, size_t nresults,
                                               wasm_trap_t **trap, wasmtime_async_continuation_t *continuation);
typedef wasm_trap_t *(*wasmtime_func_unchecked_callback_t)(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *raw,
                                                           size_t count);
typedef wasmtime_error_t *(*wasmtime_epoch_callback_t)(wasmtime_context_t *, void *, uint64_t *, uint8_t *);

enum { WASM_I32 = 0, WASM_I64 = 1, WASM_F32 = 2, WASM_F64 = 3 };
enum { WASMTIME_EXTERN_FUNC = 0, WASMTIME_EXTERN_MEMORY = 3 };
enum { WASMTIME_UPDATE_DEADLINE_CONTINUE = 0, WASMTIME_UPDATE_DEADLINE_YIELD = 1 };

/* Every function that is used, once: return type, name, parameters.  build.py reads this list too. */
#define WASMTIME_FUNCTIONS(F) \
  F(wasm_config_t *, wasm_config_new, (void)) \
  F(wasm_engine_t *, wasm_engine_new_with_config, (wasm_config_t *)) \
  F(void, wasm_engine_delete, (wasm_engine_t *)) \
  F(void, wasm_byte_vec_delete, (wasm_byte_vec_t *)) \
  F(void, wasm_valtype_vec_new_uninitialized, (wasm_valtype_vec_t *, size_t)) \
  F(wasm_valtype_t *, wasm_valtype_new, (uint8_t)) \
  F(wasm_functype_t *, wasm_functype_new, (wasm_valtype_vec_t *, wasm_valtype_vec_t *)) \
  F(void, wasm_functype_delete, (wasm_functype_t *)) \
  F(void, wasm_trap_message, (const wasm_trap_t *, wasm_byte_vec_t *)) \
  F(void, wasm_trap_delete, (wasm_trap_t *)) \
  F(wasm_trap_t *, wasmtime_trap_new, (const char *, size_t)) \
  F(bool, wasmtime_trap_code, (const wasm_trap_t *, uint8_t *)) \
  F(wasmtime_error_t *, wasmtime_error_new, (const char *)) \
  F(void, wasmtime_error_message, (const wasmtime_error_t *, wasm_byte_vec_t *)) \
  F(void, wasmtime_error_delete, (wasmtime_error_t *)) \
  F(void, wasmtime_config_async_stack_size_set, (wasm_config_t *, uint64_t)) \
  F(void, wasmtime_config_consume_fuel_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_cranelift_nan_canonicalization_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_epoch_interruption_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_gc_support_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_max_wasm_stack_set, (wasm_config_t *, size_t)) \
  F(void, wasmtime_config_memory_guard_size_set, (wasm_config_t *, uint64_t)) \
  F(void, wasmtime_config_memory_init_cow_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_memory_reservation_set, (wasm_config_t *, uint64_t)) \
  F(void, wasmtime_config_parallel_compilation_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_signals_based_traps_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_strategy_set, (wasm_config_t *, uint8_t)) \
  F(void, wasmtime_config_shared_memory_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_wasm_custom_page_sizes_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_wasm_exceptions_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_wasm_function_references_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_wasm_gc_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_wasm_memory64_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_wasm_multi_memory_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_wasm_relaxed_simd_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_wasm_stack_switching_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_wasm_tail_call_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_wasm_threads_set, (wasm_config_t *, bool)) \
  F(void, wasmtime_config_wasm_wide_arithmetic_set, (wasm_config_t *, bool)) \
  F(wasmtime_pooling_allocation_config_t *, wasmtime_pooling_allocation_config_new, (void)) \
  F(void, wasmtime_pooling_allocation_config_delete, (wasmtime_pooling_allocation_config_t *)) \
  F(void, wasmtime_pooling_allocation_strategy_set, (wasm_config_t *, const wasmtime_pooling_allocation_config_t *)) \
  F(void, wasmtime_pooling_allocation_config_async_stack_keep_resident_set, (wasmtime_pooling_allocation_config_t *, size_t)) \
  F(void, wasmtime_pooling_allocation_config_decommit_batch_size_set, (wasmtime_pooling_allocation_config_t *, size_t)) \
  F(void, wasmtime_pooling_allocation_config_linear_memory_keep_resident_set, (wasmtime_pooling_allocation_config_t *, size_t)) \
  F(void, wasmtime_pooling_allocation_config_max_core_instance_size_set, (wasmtime_pooling_allocation_config_t *, size_t)) \
  F(void, wasmtime_pooling_allocation_config_max_memory_size_set, (wasmtime_pooling_allocation_config_t *, size_t)) \
  F(void, wasmtime_pooling_allocation_config_max_tables_per_module_set, (wasmtime_pooling_allocation_config_t *, uint32_t)) \
  F(void, wasmtime_pooling_allocation_config_max_unused_warm_slots_set, (wasmtime_pooling_allocation_config_t *, uint32_t)) \
  F(void, wasmtime_pooling_allocation_config_table_elements_set, (wasmtime_pooling_allocation_config_t *, size_t)) \
  F(void, wasmtime_pooling_allocation_config_table_keep_resident_set, (wasmtime_pooling_allocation_config_t *, size_t)) \
  F(void, wasmtime_pooling_allocation_config_total_core_instances_set, (wasmtime_pooling_allocation_config_t *, uint32_t)) \
  F(void, wasmtime_pooling_allocation_config_total_memories_set, (wasmtime_pooling_allocation_config_t *, uint32_t)) \
  F(void, wasmtime_pooling_allocation_config_total_stacks_set, (wasmtime_pooling_allocation_config_t *, uint32_t)) \
  F(void, wasmtime_pooling_allocation_config_total_tables_set, (wasmtime_pooling_allocation_config_t *, uint32_t)) \
  F(void, wasmtime_engine_increment_epoch, (wasm_engine_t *)) \
  F(wasmtime_error_t *, wasmtime_module_new, (wasm_engine_t *, const uint8_t *, size_t, wasmtime_module_t **)) \
  F(wasmtime_error_t *, wasmtime_module_serialize, (wasmtime_module_t *, wasm_byte_vec_t *)) \
  F(wasmtime_error_t *, wasmtime_module_deserialize, (wasm_engine_t *, const uint8_t *, size_t, wasmtime_module_t **)) \
  F(void, wasmtime_module_delete, (wasmtime_module_t *)) \
  F(wasmtime_linker_t *, wasmtime_linker_new, (wasm_engine_t *)) \
  F(void, wasmtime_linker_delete, (wasmtime_linker_t *)) \
  F(wasmtime_error_t *, wasmtime_linker_define_async_func, (wasmtime_linker_t *, const char *, size_t, const char *, size_t, const wasm_functype_t *, wasmtime_func_async_callback_t, void *, void (*)(void *))) \
  F(wasmtime_error_t *, wasmtime_linker_define_func_unchecked, (wasmtime_linker_t *, const char *, size_t, const char *, size_t, const wasm_functype_t *, wasmtime_func_unchecked_callback_t, void *, void (*)(void *))) \
  F(bool, wasmtime_linker_get, (const wasmtime_linker_t *, wasmtime_context_t *, const char *, size_t, const char *, size_t, wasmtime_extern_t *)) \
  F(wasmtime_error_t *, wasmtime_linker_instantiate_pre, (const wasmtime_linker_t *, const wasmtime_module_t *, wasmtime_instance_pre_t **)) \
  F(void, wasmtime_instance_pre_delete, (wasmtime_instance_pre_t *)) \
  F(wasmtime_call_future_t *, wasmtime_instance_pre_instantiate_async, (const wasmtime_instance_pre_t *, wasmtime_context_t *, wasmtime_instance_t *, wasm_trap_t **, wasmtime_error_t **)) \
  F(bool, wasmtime_instance_export_get, (wasmtime_context_t *, const wasmtime_instance_t *, const char *, size_t, wasmtime_extern_t *)) \
  F(wasmtime_store_t *, wasmtime_store_new, (wasm_engine_t *, void *, void (*)(void *))) \
  F(wasmtime_context_t *, wasmtime_store_context, (wasmtime_store_t *)) \
  F(void, wasmtime_store_limiter, (wasmtime_store_t *, int64_t, int64_t, int64_t, int64_t, int64_t)) \
  F(void, wasmtime_store_epoch_deadline_callback, (wasmtime_store_t *, wasmtime_epoch_callback_t, void *, void (*)(void *))) \
  F(void, wasmtime_store_delete, (wasmtime_store_t *)) \
  F(void *, wasmtime_context_get_data, (const wasmtime_context_t *)) \
  F(wasmtime_error_t *, wasmtime_context_set_fuel, (wasmtime_context_t *, uint64_t)) \
  F(wasmtime_error_t *, wasmtime_context_get_fuel, (const wasmtime_context_t *, uint64_t *)) \
  F(void, wasmtime_context_set_epoch_deadline, (wasmtime_context_t *, uint64_t)) \
  F(wasmtime_context_t *, wasmtime_caller_context, (wasmtime_caller_t *)) \
  F(wasmtime_call_future_t *, wasmtime_func_call_async, (wasmtime_context_t *, const wasmtime_func_t *, const wasmtime_val_t *, size_t, wasmtime_val_t *, size_t, wasm_trap_t **, wasmtime_error_t **)) \
  F(wasmtime_error_t *, wasmtime_func_call_unchecked, (wasmtime_context_t *, const wasmtime_func_t *, wasmtime_val_raw_t *, size_t, wasm_trap_t **)) \
  F(bool, wasmtime_call_future_poll, (wasmtime_call_future_t *)) \
  F(void, wasmtime_call_future_delete, (wasmtime_call_future_t *)) \
  F(uint8_t *, wasmtime_memory_data, (const wasmtime_context_t *, const wasmtime_memory_t *)) \
  F(size_t, wasmtime_memory_data_size, (const wasmtime_context_t *, const wasmtime_memory_t *))

#define WASMTIME_DECLARE(result, name, parameters) extern result name parameters;
WASMTIME_FUNCTIONS(WASMTIME_DECLARE)
#endif
