# The two commands of a newcomer are `make demo` and `make test`; both set up .venv by themselves.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
# The first interpreter that is really there and new enough (a name on PATH may be a shim that answers with an error).
# `make PYTHON=python3.12 test` chooses another.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
WORKERS ?= auto
ROUNDS ?= 2000
# Of `make verify-gpu`: calls of kernels at a time, and the time for all of them.
JOBS ?= 4
BUDGET ?= 30m
# The folders with tests that are marked so: the others want packages that a GPU host need not have.
GPU_TESTS := tests/conformance tests/unit/operations tests/unit/perf
NATIVE := $(wildcard layerzero/native/*.cpp layerzero/native/*.hpp layerzero/native/CMakeLists.txt)
# One torch thread per test process: the processes already use every core.
TEST_ENV := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1

.PHONY: help demo test quick lint stress tsan asan bench format clean docs wheels gpu-bundle verify-gpu

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: $(VENV)/.ready ## set up, then a small transformer runs on the kernels that a policy chose
	@HF_HUB_OFFLINE=1 $(BIN)/lz demo

test: $(VENV)/.ready ## style, types and every test but those marked stress; what .ci/run calls
	@status=0; $(MAKE) lint || status=1; \
	$(TEST_ENV) $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile -m "not stress" || status=1; exit $$status

quick: $(VENV)/.ready ## the tests without the slow ones
	@$(TEST_ENV) $(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow and not stress"

lint: $(VENV)/.ready ## ruff and mypy; each runs even when the one before it found something
	@status=0; $(BIN)/ruff check --quiet . || status=1; $(BIN)/ruff format --quiet --check . || status=1; \
	$(BIN)/mypy --no-error-summary || status=1; exit $$status

stress: $(VENV)/.ready ## the long runs
	@$(TEST_ENV) $(BIN)/python -m pytest -q -m stress

docs: $(VENV)/.ready ## the documentation as a site in dist/site, every link checked
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheels: $(VENV)/.ready ## wheels for every Python here and a pure one, each tried in an empty environment
	@$(BIN)/python deploy/wheels.py

gpu-bundle: $(VENV)/.ready ## wheels of LayerZero and what it needs, for an offline host with Python 3.12 and torch
	@$(BIN)/python deploy/wheels.py --only 3.12 --folder dist/gpu/wheels
	@$(PIP) download --only-binary=:all: --python-version 3.12 --implementation cp --abi cp312 --abi none --no-deps \
		--constraint constraints.txt --dest dist/gpu/wheels lark packaging
	@ls -l dist/gpu/wheels

verify-gpu: ## on a CUDA host: facts, errors, regret, tokens a second, gpu tests, with the python3 on PATH
	@PYTHONPATH=.$${PYTHONPATH:+:$$PYTHONPATH}; export PYTHONPATH; mkdir -p dist/gpu; status=0; \
	python3 -m layerzero facts verify --on cuda --jobs $(JOBS) --budget $(BUDGET) --json dist/gpu/facts.json --markdown dist/gpu/facts.md --resume || status=1; \
	python3 benchmarks/gpu/accuracy.py --graph | tee dist/gpu/accuracy.md; \
	python3 benchmarks/gpu/regret.py --database dist/gpu/measured.sqlite | tee dist/gpu/regret.md; \
	python3 benchmarks/gpu/end_to_end.py --json dist/gpu/end_to_end.json; \
	python3 -m pytest -q -m gpu $(GPU_TESTS) || status=1; exit $$status

tsan: $(VENV)/.ready ## the audio ring between two threads under ThreadSanitizer
	@mkdir -p build && cmake -S layerzero/native -B build/tsan -DLAYERZERO_TSAN=ON -DPython_EXECUTABLE=$(abspath $(BIN)/python) >build/tsan.log \
	&& cmake --build build/tsan --target audio_stress >>build/tsan.log || { cat build/tsan.log; exit 1; }
	@build/tsan/audio_stress $$(( $(ROUNDS) * 1000 )) 4096 && build/tsan/audio_stress 100000 8

asan: $(VENV)/.ready ## the native part under the sanitizers: damaged forms, the laws of the engines, calls of tensors
	@mkdir -p build && cmake -S layerzero/native -B build/asan -DLAYERZERO_SANITIZE=ON -DPython_EXECUTABLE=$(abspath $(BIN)/python) >build/asan.log \
	&& cmake --build build/asan >>build/asan.log || { cat build/asan.log; exit 1; }
	@$(BIN)/python tests/fuzz/write_forms.py build/asan/forms && build/asan/fuzz 1 $(ROUNDS) build/asan/forms/*
	@LAYERZERO_NATIVE=$$(ls build/asan/_matcher*.so) LD_PRELOAD="$$(c++ -print-file-name=libasan.so) $$(c++ -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 $(TEST_ENV) $(BIN)/python -m pytest -q -n 0 tests/unit/native tests/fuzz/test_native_forms.py \
	$(addprefix tests/unit/dispatch/test_,calls_alike.py quick.py orchestrator.py scopes_and_rules.py bind.py)

bench: $(VENV)/.ready ## every figure of docs/benchmarks.md anew; half an hour, needs a package index
	@$(BIN)/python benchmarks/peers/run.py; $(BIN)/python benchmarks/dispatch/run_benchmarks.py; \
	$(BIN)/python benchmarks/dispatch/bench_cache_performance.py; $(BIN)/python benchmarks/scale.py --write; \
	$(BIN)/python benchmarks/aims.py

format: $(VENV)/.ready ## what ruff can mend by itself
	@$(BIN)/ruff check --quiet --fix-only . && $(BIN)/ruff format --quiet .

clean: ## removes the environment and every cache
	@rm -rf layerzero/native/*.so layerzero/native/CMakeFiles layerzero/native/CMakeCache.txt
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find layerzero tests -name __pycache__ -prune -exec rm -rf {} +

# The stamp is newer than the files that say what is installed and built; so an up-to-date environment costs nothing.
$(VENV)/.ready: pyproject.toml constraints.txt $(NATIVE)
	@test -n "$(PYTHON)" || { echo "LayerZero needs Python 3.11 or newer; none was found on PATH" >&2; exit 1; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version), about a minute ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); $(PYTHON) -m virtualenv --quiet $(VENV); } || \
	{ echo "cannot make a virtual environment: install python3-venv (Debian) or virtualenv" >&2; exit 1; }
	@$(PIP) install --no-compile --constraint constraints.txt --editable '.[torch,transformers,dev]'
	@touch $@
