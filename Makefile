# One command for each thing, complete with its set-up: `make help` lists them.
#
# Needed beforehand: CPython 3.11 or newer with its headers, a C compiler, make. Everything else is
# installed into a virtual environment ($(VENV), ./.venv), nothing outside of it.
#
#   make test PYTHON=/usr/bin/python3.13    another Python (remove the old .venv, or name a new one)
#   make test VENV=/tmp/fresh               another environment
#   make test ARGS='-k recovery -x'         arguments for pytest; for demo, bench and sanitize too
#   make flips SHARE=3 SHARES=20            a twentieth of it; TIME=600 goes on with other
#                                           seeds
#   make model TIME=600 SEED=7              seconds, first seed
#   make crash TIME=600 SEED=7              seconds, first seed; PROGRAMS=1 repeats one, SIZE=40 has
#                                           longer ones, BUG=2 seeds a bug,
#                                           SANITIZE=address,undefined builds with sanitizers
#   make kernel TIME=600 SEED=7             likewise
#
# The environment is kept up to date by stamp files in it: a changed pyproject.toml installs again,
# a changed file in csrc/ compiles again, and otherwise nothing is done twice.

VENV ?= .venv
ARGS ?=
# The sanitized build is a module that an ordinary Python cannot load, so it lives by itself.
SANITIZE_VENV ?= $(VENV)-sanitize
SANITIZE_CC ?= gcc
SANITIZERS ?= address,undefined
SANITIZER_LIBRARIES = asan ubsan
TSAN_VENV ?= $(VENV)-tsan

PY = $(VENV)/bin/python
SANITIZE_PY = $(SANITIZE_VENV)/bin/python
TSAN_PY = $(TSAN_VENV)/bin/python
PIP_INSTALL = -m pip --disable-pip-version-check install --quiet

NATIVE := $(wildcard csrc/*.c csrc/*.h) csrc/build_native.py setup.py
C_FILES = $(shell find csrc tests bench -name '*.[ch]')
PACKAGE = $(shell find src/aurolog -name '*.py')

# The first of these that is new enough, unless PYTHON is given.
PYTHON ?= $(firstword $(foreach python,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
	$(python) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& echo $(python))) python3)

.PHONY: help demo test check lint layout types warnings format bench bench-smoke sanitize wheel \
	clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@echo 'make demo         kill a loading process midway and prove that nothing was lost'
	@echo 'make test         run the test suite'
	@echo 'make crash        cut the power at every call of a simulated disk and look what is left'
	@echo 'make seeded-bugs  see that it finds each of the deliberate bugs'
	@echo 'make call-failures  have each call of the disk fail, and look what is left'
	@echo 'make model        random programs of the public API beside a dict, for TIME seconds'
	@echo 'make fuzz         feed the engine with what no engine would write; needs clang'
	@echo 'make fuzz-corpus  run the inputs that fuzzing has found worth keeping'
	@echo 'make test-tools   install what the tests need besides Python, a C compiler and make'
	@echo 'make flips        flip every bit of small volumes, and do them larger damage'
	@echo 'make kernel       kill processes, cut the power and fill disks, on real files'
	@echo 'make stress       threads on one volume; nothing may be torn'
	@echo 'make paths        what lies between two random paths, beside a walk over their commits'
	@echo 'make tsan         the same, and the tests with threads, under ThreadSanitizer'
	@echo 'make coverage     which branches the tests take, in C and Python (eight minutes)'
	@echo 'make check        linters, layout, strict types, a build without warnings'
	@echo 'make format       bring Python and C into the layout that `make check` wants'
	@echo 'make bench        compare with other engines (half an hour); writes docs/benchmarks.md'
	@echo 'make bench-smoke  run each benchmark once, small, only to see that it runs'
	@echo 'make sanitize     run the test suite under AddressSanitizer and UndefinedBehaviorSanitizer'
	@echo 'make wheel        build the source distribution and the wheel into dist/'
	@echo 'make clean        remove what the others made, the environments too'

demo: $(VENV)/.aurolog
	$(VENV)/bin/aurolog demo $(ARGS)

# Two files at a time: most tests wait for a disk, and some use every processor by themselves.
PARALLEL = --numprocesses 2 --dist loadfile

test: $(VENV)/.aurolog $(VENV)/.test
	$(PY) -m pytest $(PARALLEL) $(ARGS)

include tests/campaigns.mk

# Apart, so that `make -k check` shows all that is wrong and not only the first.
check: lint layout types warnings

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .

layout: $(VENV)/.dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/clang-format --dry-run -Werror $(C_FILES)

types: $(VENV)/.base $(VENV)/.test $(VENV)/.dev
	$(VENV)/bin/mypy

warnings: $(VENV)/.base
	AUROLOG_WERROR=1 $(PY) setup.py --quiet build --build-base build/werror

format: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/clang-format -i $(C_FILES)

bench: $(VENV)/.aurolog $(VENV)/.bench
	$(PY) -m bench.compare --document docs/benchmarks.md $(ARGS)

bench-smoke: $(VENV)/.aurolog $(VENV)/.bench
	$(PY) -m pytest bench --benchmark-disable
	$(PY) -m bench.compare --smoke $(ARGS)

# Shows what a sanitizer has left in files, and fails for it.
define SHOW_REPORTS
for report in $(REPORT).*; do \
		[ -e "$$report" ] || continue; \
		echo "== $$report"; cat "$$report"; status=1; \
	done; \
	exit $$status
endef

# Tests of programs of their own, which know nothing of this build, are left out.
APART = $(addprefix --ignore=tests/test_,crash.py flips.py call_failures.py)
# And those of Python alone, where it is C that is looked at.
PYTHON_ALONE = $(addprefix --ignore=tests/test_,cli.py cli_time.py coverage.py demo.py history.py \
	moment.py tidy.py)

# AddressSanitizer's reports go to files, where no test can swallow them, and any of them is a
# failure. The other's go to standard error, which pytest must therefore not capture by descriptor.
sanitize: REPORT = $(abspath $(SANITIZE_VENV))/report
sanitize: $(SANITIZE_VENV)/.sanitized
	@rm -f $(REPORT).*
	@echo '== the test suite with -fsanitize=$(SANITIZERS)'
	@status=0; \
	LD_PRELOAD="$$(cat $<)" PYTHONMALLOC=malloc \
	ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:log_path=$(REPORT) \
	UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1 \
	$(SANITIZE_PY) -m pytest -p no:faulthandler --capture=sys --timeout=1200 $(PARALLEL) \
		$(APART) $(PYTHON_ALONE) $(ARGS) || status=$$?; \
	$(SHOW_REPORTS)

wheel: $(VENV)/.dev
	rm -rf dist
	$(PY) -m build --quiet --outdir dist
	@ls dist/*.whl

clean:
	rm -rf build dist .venv .venv-sanitize .venv-tsan src/*.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	rm -f src/aurolog/_native.*
	find src tests bench csrc -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- environments -------------------------------------------------------------------------------

# Prints the requirements named by its arguments: a table's path in pyproject.toml.
define REQUIREMENTS
import sys, tomllib
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)
for path in sys.argv[1:]:
    table = project
    for key in path.split("."):
        table = table[key]
    print("\n".join(table))
endef

# Ends with what to do when something is missing. Python before 3.11 has to be able to read it.
define PREFLIGHT
import os, shutil, sys, sysconfig
version = "%d.%d" % sys.version_info[:2]
debian = os.path.exists("/etc/debian_version")
system = getattr(sys, "base_prefix", "") == "/usr"
def need(what, package, advice):
    if package:
        advice = "On this system: apt-get install " + package
    sys.exit("\naurolog needs %s.\n%s\n" % (what, advice))
if sys.version_info < (3, 11):
    need("CPython 3.11 or newer; %s is %s" % (sys.executable, version), "",
        "Name another one: make PYTHON=/path/to/python3.11 (with pyenv: `pyenv install 3.13`)")
try:
    import ensurepip, venv
except ImportError:
    need("Python's modules venv and ensurepip, which %s lacks" % sys.executable,
        debian and system and "python3-venv", "Install them, or name another Python: make PYTHON=...")
header = os.path.join(sysconfig.get_path("include"), "Python.h")
if not os.path.exists(header):
    need("Python's C headers: %s is not there" % header, debian and system and "python3-dev",
        "Install your system's package of them (python3-devel), or name another Python.")
compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
if not shutil.which(compiler):
    need("a C compiler: %r is not there" % compiler, debian and "gcc libc6-dev",
        "Install one, or name it: make CC=...")
endef
export REQUIREMENTS PREFLIGHT

%/bin/python:
	@command -v $(PYTHON) >/dev/null || { \
		echo 'aurolog needs CPython 3.11 or newer: $(PYTHON) not found (make PYTHON=...)'; exit 1; }
	@$(PYTHON) -c "$$PREFLIGHT"
	@echo "== making $* with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(if $(wildcard $*/pyvenv.cfg),--clear) $*

# What building and running need.
%/.base: pyproject.toml | %/bin/python
	@echo '== $*: installing what building and running need'
	@$*/bin/python -c "$$REQUIREMENTS" build-system.requires project.dependencies >$@.txt
	@$*/bin/python $(PIP_INSTALL) -r $@.txt
	@touch $@

# The package itself, editable: the Python files are used from src/, the native module lies there.
%/.aurolog: %/.base $(NATIVE)
	@echo '== $*: building and installing aurolog'
	@$*/bin/python $(PIP_INSTALL) --no-build-isolation --no-deps --editable .
	@touch $@

# One stamp for each extra.
define EXTRA
%/.$(1): %/.base
	@echo '== $$*: installing what `$(1)` needs'
	@$$*/bin/python -c "$$$$REQUIREMENTS" project.optional-dependencies.$(1) >$$@.txt
	@$$*/bin/python $(PIP_INSTALL) -r $$@.txt
	@touch $$@
endef
$(foreach extra,test bench dev,$(eval $(call EXTRA,$(extra))))

# Holds the libraries to preload.
%/.sanitized: %/.base %/.test $(NATIVE) $(PACKAGE)
	@echo '== $*: building and installing aurolog with -fsanitize=$(SANITIZERS)'
	@rm -rf build/sanitize
	@CC=$(SANITIZE_CC) AUROLOG_SANITIZE=$(SANITIZERS) \
		$*/bin/python $(PIP_INSTALL) --no-build-isolation --no-deps --force-reinstall .
	@for library in $(SANITIZER_LIBRARIES); do \
		path=$$($(SANITIZE_CC) -print-file-name=lib$$library.so); \
		[ -e "$$path" ] || { echo "$(SANITIZE_CC) has no lib$$library.so"; exit 1; }; \
		realpath "$$path"; \
	done | tr '\n' ' ' >$@

.SECONDARY:
