# Everything from nothing but Python 3.11 or newer, a C compiler and make: each target sets up what it needs in .venv,
# and builds and installs the package again when its sources have changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TENSORFLOW := .venv-tensorflow
SOURCES := pyproject.toml meson.build meson.options README.md LICENSE tools/meson.build src_c/meson.build \
  fastxent/meson.build $(wildcard src_c/*.c src_c/*.h src_c/*.def fastxent/*.p* fastxent/*/*.p*)
PYX := $(wildcard fastxent/*.pyx fastxent/*.pxd)
C := $(wildcard src_c/*.c src_c/*.h src_c/*.def tools/*.c tools/*.h)

# What the tests are given, for instance PYTEST="-k logsumexp".
PYTEST ?=
# What the benchmarks are given, for instance BENCH="--quick".
BENCH ?=

# `fastxent/` here holds sources: with the current folder on its path, Python would take them for the package.
export PYTHONSAFEPATH := 1
unexport PYTHONPATH
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.NOTPARALLEL:
.PHONY: build demo test peers test-peers docs-test docs-plots lint format bench check-kernels test-neon test-sanitize clean

build: $(VENV)/.built

demo: $(VENV)/.demo
	$(BIN)/fastxent demo

test: $(VENV)/.test
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 $(PYTEST)

# The others' own tests, run on ours. TensorFlow and Keras have an environment to themselves.
peers: $(VENV)/.peers $(TENSORFLOW)/.peers

test-peers: peers
	$(BIN)/pytest -q tests/test_compat_torch.py tests/test_objectives.py
	$(BIN)/python tools/run_doctests.py
	$(BIN)/python -W ignore tests/peers/scikit_learn.py
	$(BIN)/python -W ignore tests/peers/torch_nn.py
	$(TENSORFLOW)/bin/python -W ignore tests/peers/keras_docs.py
	$(TENSORFLOW)/bin/python -W ignore tests/peers/keras_losses.py
	$(TENSORFLOW)/bin/python -W ignore tests/peers/tensorflow_nn.py
	$(TENSORFLOW)/bin/python -W ignore tests/peers/tensorflow_sampled.py

docs-test: $(VENV)/.demo
	$(BIN)/python tools/run_doctests.py

docs-plots: $(VENV)/.demo
	$(BIN)/python docs/plot_losses.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cython-lint $(PYX)
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(C)

format: $(VENV)/.dev
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C)

bench: $(VENV)/.bench
	PYTHONSAFEPATH= $(BIN)/python -m benchmarks $(BENCH)

# The kernels of every instruction set of this machine against the scalar ones, in C.
check-kernels: $(VENV)/.dev
	test -d build/kernels || $(BIN)/meson setup build/kernels -Dkernels_only=true -Dwerror=true
	$(BIN)/meson test -C build/kernels --verbose

# The same for aarch64 under emulation: needs aarch64-linux-gnu-gcc and qemu-aarch64.
test-neon: $(VENV)/.dev
	test -d build/neon || $(BIN)/meson setup build/neon -Dkernels_only=true -Dwerror=true --cross-file tools/aarch64.ini
	$(BIN)/meson test -C build/neon --verbose

# Both with gcc's address and undefined behaviour sanitizers: the kernels in C, then tests that reach every row loop.
SANITIZE := -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized
SANITIZED_TESTS := tests/test_layouts.py tests/test_special_values.py tests/test_refusals.py
test-sanitize: $(VENV)/.dev $(VENV)/.test
	test -d build/sanitize || CC=gcc $(BIN)/meson setup build/sanitize -Dkernels_only=true $(SANITIZE)
	$(BIN)/meson test -C build/sanitize
	CC=gcc $(BIN)/pip install --quiet --no-deps --upgrade --target build/sanitized \
	  $(SANITIZE:%=-Csetup-args=%) .
	PYTHONPATH=build/sanitized PYTHONMALLOC=malloc \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	  LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" \
	  $(BIN)/pytest -q -p no:cacheprovider $(SANITIZED_TESTS)

clean:
	rm -rf $(VENV) $(TENSORFLOW) build/wheel build/kernels build/neon build/sanitize build/sanitized dist .mypy_cache .ruff_cache .pytest_cache
	rm -f fastxent-demo.png

# Stamps. The package first, so that its extras find it installed and ask for no other.
$(VENV)/.python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("fastxent needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.built: $(VENV)/.python $(SOURCES)
	rm -rf build/wheel
	$(BIN)/pip wheel --no-deps --wheel-dir build/wheel .
	$(BIN)/pip install --quiet --no-deps --force-reinstall build/wheel/fastxent-*.whl
	$(BIN)/pip install --quiet fastxent
	touch $@

$(VENV)/.demo $(VENV)/.test $(VENV)/.bench $(VENV)/.dev $(VENV)/.peers: $(VENV)/.%: pyproject.toml | $(VENV)/.built
	$(BIN)/pip install --quiet "fastxent[$*]"
	touch $@

$(TENSORFLOW)/.peers: $(VENV)/.built
	test -d $(TENSORFLOW) || $(PYTHON) -m venv $(TENSORFLOW)
	$(TENSORFLOW)/bin/pip install --quiet --no-deps --force-reinstall build/wheel/fastxent-*.whl
	$(TENSORFLOW)/bin/pip install --quiet "fastxent[peers-tensorflow]"
	touch $@
