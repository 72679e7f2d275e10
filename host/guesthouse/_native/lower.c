/* Flat values, and the carrying out of plans: the only C that writes guest memory. */
#include <stdlib.h>
#include <string.h>
#include "internal.h"

/* ---- values ---------------------------------------------------------------------------------------------------- */

uint64_t gh_to_slot(const wasmtime_val_t *value) {
  uint64_t slot = 0;
  bool wide = value->kind == WASM_I64 || value->kind == WASM_F64;
  memcpy(&slot, &value->of, wide ? 8 : 4);
  return slot;
}

void gh_from_slot(wasmtime_val_t *value, char letter, const uint8_t *slot) {
  value->kind = gh_kind_of(letter);
  memcpy(&value->of, slot, letter == 'i' || letter == 'f' ? 4 : 8);
}

void gh_refresh_memory(gh_guest *guest) {
  guest->memory = guest->has_memory ? wasmtime_memory_data(guest->context, &guest->linear) : NULL;
  guest->memory_size = guest->has_memory ? wasmtime_memory_data_size(guest->context, &guest->linear) : 0;
}

/* The only arithmetic on guest addresses in C: [pointer, pointer+size) lies in memory and is aligned. */
static bool fits(const gh_guest *guest, uint64_t pointer, uint64_t size, uint32_t align) {
  return pointer + size <= guest->memory_size && (align & (align - 1)) == 0 && (pointer & (align - 1)) == 0;
}

/* ---- lowering -------------------------------------------------------------------------------------------------- */

/* Block `index` was allocated at `pointer`: fills it and tells its parent. */
bool gh_place(gh_guest *guest, const gh_plan *plan, uint32_t index, uint32_t pointer) {
  const gh_block *block = &plan->blocks[index];
  gh_refresh_memory(guest);
  if (!fits(guest, pointer, block->size, block->align)) return false;
  guest->addresses[index] = pointer;
  memcpy(guest->memory + pointer, plan->blob + block->blob, block->size);
  const gh_block *parent = &plan->blocks[block->parent];
  if (block->parent >= index || (uint64_t)block->at + 4 > parent->size) return false;
  if (block->parent == 0 && parent->parent == GH_ROOT_FLAT)
    memcpy((uint8_t *)guest->flat + block->at, &pointer, 4);
  else
    memcpy(guest->memory + guest->addresses[block->parent] + block->at, &pointer, 4);
  return true;
}

/* The root needs no allocation: its values go to `flat`, or its bytes to where the guest wants its result. */
bool gh_place_root(gh_guest *guest, const gh_plan *plan) {
  const gh_block *root = plan->blocks;
  if (!plan->block_count || root->parent == GH_ROOT_FLAT) {
    memcpy(guest->flat, plan->blob + (plan->block_count ? root->blob : 0), (size_t)plan->flat * 8);
    if (!plan->block_count) return true;
  } else {
    gh_refresh_memory(guest);
    if (!fits(guest, root->at, root->size, root->align)) return false;
    memcpy(guest->memory + root->at, plan->blob + root->blob, root->size);
  }
  if (plan->block_count > guest->address_room) {
    guest->address_room = plan->block_count;
    guest->addresses = realloc(guest->addresses, guest->address_room * sizeof *guest->addresses);
  }
  guest->addresses[0] = root->parent == GH_ROOT_FLAT ? 0 : root->at;
  return true;
}

wasm_trap_t *gh_trap_of(gh_guest *guest, int32_t reason, const char *message) {
  guest->reason = reason;
  return wasmtime_trap_new(message, strlen(message));
}

wasm_trap_t *gh_trap_of_error(wasmtime_error_t *error) {
  char *text = gh_error_text(error);
  wasm_trap_t *trap = wasmtime_trap_new(text, strlen(text));
  free(text);
  return trap;
}

/* Carries out a plan at the end of a host call: cabi_realloc runs nested on the same fiber, where it may yield. */
wasm_trap_t *gh_lower_nested(gh_guest *guest) {
  const gh_plan *plan = &guest->reply;
  if (!gh_place_root(guest, plan)) return gh_trap_of(guest, GH_TRAP, "the return pointer lies outside memory or is not aligned");
  guest->may_leave = false;
  guest->nested = true;
  wasm_trap_t *trap = NULL;
  for (uint32_t i = 1; i < plan->block_count && !trap; i++) {
    wasmtime_val_raw_t raw[4] = {{.i64 = 0}, {.i64 = 0}, {.i64 = plan->blocks[i].align}, {.i64 = plan->blocks[i].size}};
    if (!gh_find_realloc(guest)) return gh_trap_of(guest, GH_REALLOC, "the guest exports no cabi_realloc");
    guest->nested_slices = 0;
    wasmtime_error_t *error = wasmtime_func_call_unchecked(guest->context, &guest->realloc_func, raw, 4, &trap);
    if (error) {
      if (guest->reason == GH_TRAP) guest->reason = GH_REALLOC;
      trap = gh_trap_of_error(error);
    } else if (!trap && !gh_place(guest, plan, i, (uint32_t)raw[0].i32)) {
      trap = gh_trap_of(guest, GH_REALLOC, "cabi_realloc answered a pointer that is outside memory or not aligned");
    }
  }
  guest->may_leave = true;
  guest->nested = false;
  return trap;
}
