/* What the floor uses of wasmtime's C API beside host/guesthouse/_native/wasmtime.h; checked against the installed wheel
 * in the same way before it is compiled. */
#ifndef GUESTHOUSE_FLOOR_WASMTIME_SYNC_H
#define GUESTHOUSE_FLOOR_WASMTIME_SYNC_H
#include "wasmtime.h"

typedef wasm_trap_t *(*wasmtime_func_unchecked_callback_t)(void *env, wasmtime_caller_t *caller,
                                                           wasmtime_val_raw_t *args_and_results, size_t count);

#define WASMTIME_SYNC_FUNCTIONS(F) \
  F(wasmtime_error_t *, wasmtime_linker_define_func_unchecked, (wasmtime_linker_t *, const char *, size_t, const char *, size_t, const wasm_functype_t *, wasmtime_func_unchecked_callback_t, void *, void (*)(void *))) \
  F(wasmtime_error_t *, wasmtime_linker_define_unknown_imports_as_traps, (wasmtime_linker_t *, wasmtime_module_t *)) \
  F(wasmtime_error_t *, wasmtime_instance_pre_instantiate, (const wasmtime_instance_pre_t *, wasmtime_context_t *, wasmtime_instance_t *, wasm_trap_t **))

WASMTIME_SYNC_FUNCTIONS(WASMTIME_DECLARE)
#endif
