/* What takes longer than it may keep the GIL: the same steps without it.  Knows Python's threads, nothing else of it. */
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include "internal.h"

char *gh_module_load(gh_engine *engine, const uint8_t *artefact, size_t size, gh_module **module) {
  PyThreadState *state = PyEval_SaveThread();
  char *problem = gh_load(engine, artefact, size, module);
  PyEval_RestoreThread(state);
  return problem;
}

int gh_start_released(gh_guest *guest, const gh_target *target, uint64_t deadline_ns, const uint8_t *blob, uint32_t flat,
                      const uint8_t *blocks, uint32_t block_count) {
  PyThreadState *state = PyEval_SaveThread();
  int status = gh_start(guest, target, deadline_ns, blob, flat, blocks, block_count);
  PyEval_RestoreThread(state);
  return status;
}

int gh_continue_released(gh_guest *guest) {
  PyThreadState *state = PyEval_SaveThread();
  int status = gh_continue(guest);
  PyEval_RestoreThread(state);
  return status;
}

int gh_call_released(gh_guest *guest, const gh_target *target, const uint8_t *blob, uint32_t flat, const uint8_t *blocks,
                     uint32_t block_count) {
  PyThreadState *state = PyEval_SaveThread();
  int status = gh_call(guest, target, blob, flat, blocks, block_count);
  PyEval_RestoreThread(state);
  return status;
}

int gh_answer_released(gh_guest *guest, const uint8_t *blob, uint32_t flat, const uint8_t *blocks, uint32_t block_count) {
  PyThreadState *state = PyEval_SaveThread();
  int status = gh_answer(guest, blob, flat, blocks, block_count);
  PyEval_RestoreThread(state);
  return status;
}
