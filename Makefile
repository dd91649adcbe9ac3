# hwsim: `make demo` and `make test` do all the set-up on a fresh machine.  PYTHON=python3.10 chooses the interpreter.

PYTHON ?= python3
VENV   := .venv
TOSA   := .venv-tosa
TOSA_TOOLS := 2026.8.0
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q
NATIVE := build/native
BUILD_TYPE ?= Release
FUZZ_SECONDS ?= 60

SOURCES := $(shell find hwsim native CMakeLists.txt build_backend.py pyproject.toml -type f \
             -not -path '*/__pycache__/*' -not -path 'hwsim/_native/*' 2>/dev/null)
C_SOURCES := $(shell find native CMakeLists.txt -type f 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help demo test check native asan fuzz golden bench study pictures conform tosa clean

help:
	@echo "make demo    environment, installation, and the main job on a small network (start here)"
	@echo "make test    all tests, against the installed package"
	@echo "make check   ruff, mypy, doctests and the quick tests, against the checkout"
	@echo "make native  the C core into hwsim/_native, for work in the checkout"
	@echo "make asan    the tests of the C core under the address and undefined-behaviour sanitizers"
	@echo "make fuzz    attack every reader of files for FUZZ_SECONDS each (60); by coverage where atheris is installed"
	@echo "make conform public suites of other people's tests: passed / total, and the README's badge"
	@echo "make golden  regenerate golden/ byte for byte"
	@echo "make bench   equality first, then time     make study  the figures in docs/"
	@echo "make pictures  run the worked examples in docs/, and draw them"

# A stamp is the file whose age says when its step was last done.
$(BIN)/activate:
	@PYTHON='$(PYTHON)' sh tools/make_venv.sh $(VENV)
	@$(PIP) install --upgrade 'pip>=23'

$(VENV)/.demo: $(BIN)/activate $(SOURCES)
	@echo "installing hwsim into $(VENV) ..."
	@$(PIP) install '.[models]'
	@touch $@

$(VENV)/.test: $(BIN)/activate $(SOURCES)
	@echo "installing hwsim and what its tests need into $(VENV) ..."
	@$(PIP) install '.[test]'
	@touch $@ $(VENV)/.demo

# For work in the checkout: the tools only. hwsim itself is then imported from the checkout.
$(VENV)/.dev: $(BIN)/activate pyproject.toml
	@echo "installing the development tools into $(VENV) ..."
	@$(PIP) install '.[dev]'
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/hwsim demo

# The installed package is what is tested: nothing puts the checkout's hwsim/ on the path.
# A file's tests stay together, for the sake of what they share; as many files at a time as there are cores.
test: $(VENV)/.test
	@$(BIN)/pytest -n auto --dist loadfile $(PYTEST_ARGS)

# `python -m pytest` puts the checkout's hwsim/ first on the path, with the C core of `make native` in it.
check: $(VENV)/.dev native
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q --doctest-modules hwsim
	@$(BIN)/python -m pytest -q -m 'not slow' -n auto --dist loadfile $(PYTEST_ARGS)

native: hwsim/_native/.built

hwsim/_native/.built: $(C_SOURCES)
	@command -v cmake >/dev/null || $(MAKE) --no-print-directory $(VENV)/.dev
	@PATH="$$PATH:$(CURDIR)/$(BIN)"; \
	  cmake -S . -B $(NATIVE) -DCMAKE_BUILD_TYPE=$(BUILD_TYPE) >/dev/null && \
	  cmake --build $(NATIVE) --parallel 2 && \
	  cmake --install $(NATIVE) --prefix . >/dev/null
	@touch $@

asan: $(VENV)/.dev
	@sh tools/asan.sh $(BIN)/python

fuzz: $(VENV)/.dev
	@PYTHONPATH=.:tests $(BIN)/python -m fuzz $(FUZZ_SECONDS)

# tosa-tools pins an old numpy, so it has an environment of its own; hwsim runs its programs and never imports it.
$(TOSA)/.$(TOSA_TOOLS):
	@PYTHON='$(PYTHON)' sh tools/make_venv.sh $(TOSA)
	@echo "installing tosa-tools $(TOSA_TOOLS) into $(TOSA) ..."
	@$(TOSA)/bin/python -m pip --disable-pip-version-check -q install 'tosa-tools==$(TOSA_TOOLS)'
	@touch $@

tosa: $(TOSA)/.$(TOSA_TOOLS)

conform: $(VENV)/.dev native tosa
	@HWSIM_TOSA='$(CURDIR)/$(TOSA)' $(BIN)/python -m hwsim conform tosa litert onnxruntime onnx \
	  $(or $(CONFORM_ARGS),--badge docs/conformance.svg)

golden: $(VENV)/.dev native
	@$(BIN)/python golden/regenerate.py

bench: $(VENV)/.dev native
	@$(BIN)/python -m pytest bench --benchmark-sort=name $(PYTEST_ARGS)

study: $(VENV)/.dev native
	@$(BIN)/python -m bench.study
	@$(BIN)/python -m bench.overflow
	@$(BIN)/python -m bench.minimize
	@for net in lenet squeezenet; do for table in powers minifloats accumulators; do \
	  $(BIN)/python -m bench.schemes $$net $$table || exit 1; done; done

pictures: $(VENV)/.dev
	@$(BIN)/python docs/pictures/draw.py

clean:
	rm -rf build dist hwsim/_native .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
