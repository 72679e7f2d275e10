# Everything that a person does with this project, each by one word.  `make` alone lists them.
VENV   := .venv
PYTHON := $(VENV)/bin/python
RUN    := $(VENV)/bin
# Two processes: half of what the tests do is waiting, and each has an engine of its own.
SIDE_BY_SIDE := -n 2 --dist worksteal

.PHONY: help demo serve test crash soak matrix check bench guests bump-wasmtime clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

$(VENV)/ready: pyproject.toml setup.py $(wildcard host/guesthouse/_native/*.[ch]) host/guesthouse/_native/build.py tools/setup
	@tools/setup $(VENV)
	@touch $@

$(VENV)/ready-test: $(VENV)/ready
	@$(RUN)/pip install --quiet --group test
	@touch $@

$(VENV)/ready-bench: $(VENV)/ready
	@$(RUN)/pip install --quiet --group bench
	@touch $@

demo: $(VENV)/ready ## deploy and call every example guest over HTTP
	@$(PYTHON) tools/demo.py

serve: $(VENV)/ready ## run a server on http://127.0.0.1:8080 with its state in .cache/data
	@$(RUN)/guesthouse serve --data-dir .cache/data

test: check ## all tests
	@$(PYTHON) -m pytest $(SIDE_BY_SIDE) $(PYTEST)

crash: $(VENV)/ready-test ## kill servers 500 times under load, and 200 times while durable functions charge, and compare what became of it
	@PYTHONPATH=host:tests $(PYTHON) -m crash --kills 500 --charges 200

soak: $(VENV)/ready-test ## the same 10,000 times, and the hostile tests for longer: for a night
	@PYTHONPATH=host:tests $(PYTHON) -m crash --kills 10000 --charges 2000
	@TEST_SOAK=1 $(PYTHON) -m pytest tests/hostile tests/behaviour/test_f20_*.py

matrix: $(VENV)/ready-test ## docs/matrix.md: which test proves which function of which interface
	@$(PYTHON) -m pytest -q $(SIDE_BY_SIDE) --matrix docs/matrix.md tests/behaviour

check: $(VENV)/ready-test ## types, style and layers, no tests
	@$(RUN)/ruff check .
	@$(RUN)/mypy
	@PYTHONPATH=host $(RUN)/lint-imports
	@$(PYTHON) guests/build.py --check

bench: $(VENV)/ready-bench ## speed and memory beside the floor and beside peers, as ratios
	@$(PYTHON) -m benchmarks

guests: ## build every guest from source with the Rust on PATH
	@python3 guests/build.py

bump-wasmtime: $(VENV)/ready-test ## check a newer wasmtime against all that we rely on: make bump-wasmtime VERSION=51.0.0
	@tools/bump-wasmtime $(VENV) $(VERSION)

clean: ## remove what was built
	rm -rf $(VENV) build .cache host/*.egg-info host/guesthouse/_native/_glue.*
