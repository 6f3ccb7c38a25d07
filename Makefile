# Needs GNU make 3.81 or later and any POSIX shell. `make` alone lists the commands.

PYTHON   ?= python3
LAB_ARGS ?=

VENV := .venv
BIN  := $(VENV)/bin

SCRIPTS := mullama_nb/testing/suites/page mullama_nb/widgets/front_end tests/widgets

# llama-cpp-python comes as source and is built once, without its vision tools. Options in
# CMAKE_ARGS are added, and pip must then not reuse a cached build without them.
ifdef CMAKE_ARGS
export PIP_NO_CACHE_DIR := 1
endif
override CMAKE_ARGS := -DLLAVA_BUILD=OFF $(CMAKE_ARGS)
export CMAKE_ARGS
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# It is built for this machine's CPU. If that has AMX, code from GCC 12 ends a prompt in SIGILL (see
# mullama_nb.engine.native.has_amx), and a build in pip's cache may contain it.
ifneq ($(shell $${CXX:-c++} -march=native -dM -E -x c++ /dev/null 2>/dev/null | grep __AMX_TILE__),)
override NO_AMX := -mno-amx-tile -mno-amx-int8 -mno-amx-bf16
export CFLAGS := $(CFLAGS) $(NO_AMX)
export CXXFLAGS := $(CXXFLAGS) $(NO_AMX)
export PIP_NO_CACHE_DIR := 1
endif
# Deno caches its checks here, and does not look for updates.
export DENO_DIR := $(CURDIR)/$(VENV)/deno
export DENO_NO_UPDATE_CHECK := 1
# If another environment is active, IPython would warn about it and use its packages.
unexport VIRTUAL_ENV
# Bytecode is kept even if the environment says otherwise: the tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help lab quick test test-busy check format bench docs screenshots clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "PYTHON=python3.12 picks the interpreter (3.10 or later), LAB_ARGS=... goes to JupyterLab,"
	@echo "CMAKE_ARGS=... to the build of llama.cpp: CMAKE_ARGS=-DGGML_CUDA=on for an NVIDIA GPU."

lab: $(VENV)/lab.done ## Open the quickstart in JupyterLab
	$(BIN)/jupyter lab $(LAB_ARGS) notebooks/lessons.jupyterlab-workspace

# What property tests draw comes from the commit: the same on every machine, new with the next one.
DRAWS := $(shell git rev-parse HEAD 2>/dev/null || echo 0)
# Browsers and kernels mostly wait: with two processes, two cores were idle half of the time.
PYTEST := $(BIN)/pytest -n 4 --hypothesis-seed=$(DRAWS)
# The file in it says why. The path to hang_guard is relative: kernels are not to find the tests.
LEFT_OUT := $(CURDIR)/tests/left_out

test: $(VENV)/test.done $(VENV)/browser.done ## Run the tests, then every notebook against its saved outputs
	PYTHONPATH='$(LEFT_OUT)' $(PYTEST) --dist worksteal tests
	$(if $(wildcard notebooks/*.ipynb),PYTHONPATH='$(LEFT_OUT):tests' $(PYTEST) --dist loadfile \
	  -p hang_guard -p kernel_sockets --nbval --nbval-current-env --nbval-kernel-startup-timeout 600 notebooks)

quick: $(VENV)/test.done ## Run the quick tests: no demo model, no browser, no slow steps
	PYTHONPATH='$(LEFT_OUT)' $(PYTEST) --dist worksteal -m "not slow" tests

test-busy: $(VENV)/test.done $(VENV)/browser.done ## Run the same next to two busy loops
	$(BIN)/python tools/busy.py $(MAKE) test

check: $(VENV)/dev.done ## Check format, style, types and layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/deno fmt --check --quiet
	$(BIN)/deno lint --quiet
	$(BIN)/deno check --quiet $(SCRIPTS)

format: $(VENV)/dev.done ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/deno fmt --quiet

bench: $(VENV)/test.done ## Measure against other ways of doing the same
	$(BIN)/python -m benchmarks

# From nothing each time: pages that are kept would keep their warnings to themselves.
docs: $(VENV)/docs.done ## Build the site in build/site, and check its links
	rm -rf build/site docs/reference/generated
	$(BIN)/sphinx-build --fail-on-warning --keep-going --nitpicky --quiet --jobs auto \
	  --conf-dir docs . build/site
	$(BIN)/python tools/site_links.py build/site

screenshots: $(VENV)/test.done $(VENV)/browser.done ## Save pictures of the widgets in build/screenshots
	$(BIN)/python tools/screenshots.py

clean: ## Remove caches and build products, but keep .venv
	rm -rf build dist docs/reference/generated .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name .venv -prune -o -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +

# $(call require,command,message when it fails): neither may contain a comma.
require = @$(1) >/dev/null 2>&1 || { echo "$(strip $(2))" >&2; exit 1; }

$(VENV)/pyvenv.cfg:
	$(call require,$(PYTHON) -c 'import sys; sys.exit(sys.hexversion < 0x30A0000)',\
	  $(PYTHON) is missing or older than Python 3.10. Name another one: make PYTHON=python3.12 ...)
	$(call require,$(PYTHON) -c 'import ensurepip; import venv',\
	  $(PYTHON) cannot make virtual environments: its modules venv and ensurepip are missing. \
	  On Debian and Ubuntu: apt install python3-venv)
	$(call require,$${CXX:-c++} --version,\
	  There is no C++ compiler and llama.cpp needs one. Debian and Ubuntu: apt install g++ - \
	  Fedora: dnf install gcc-c++ - macOS: xcode-select --install)
	$(PYTHON) -m venv $(VENV)

$(VENV)/lab.done:  EXTRAS := lab,demo
$(VENV)/test.done: EXTRAS := lab,demo,test
$(VENV)/dev.done:  EXTRAS := dev
$(VENV)/docs.done: EXTRAS := docs

$(VENV)/%.done: pyproject.toml $(VENV)/pyvenv.cfg
	@echo "Installing mullama_nb with $(EXTRAS) into $(VENV)."
	$(if $(wildcard $(VENV)/*.done),,@echo "This first time builds llama.cpp: 4 to 6 minutes.")
	@$(BIN)/python tools/progress.py $(VENV)/llama-build.log \
	  $(BIN)/python -m pip install -v -e '.[$(EXTRAS)]'
	@touch $@

# The browser tests also need a chromium, axe-core (deno.json has its version), and an ipykernel that
# handles messages differently.
$(VENV)/browser.done: tools/chromium.py deno.json | $(VENV)/test.done
	@$(BIN)/python tools/chromium.py
	@$(BIN)/deno install --quiet
	@test -d $(VENV)/ipykernel-7.3 || $(BIN)/python -m pip install -q --no-deps \
	  --target $(VENV)/ipykernel-7.3 'ipykernel>=7.3,<7.4'
	@touch $@
