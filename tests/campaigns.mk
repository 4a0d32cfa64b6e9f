# The campaigns that docs/testing.md describes, one command for each; included by the Makefile.

.PHONY: crash seeded-bugs call-failures flips flips-table model fuzz fuzz-keep fuzz-corpus \
	fuzz-coverage test-tools kernel stress tsan paths coverage coverage-part coverage-programs \
	coverage-report test-uncounted

# The crash campaign (docs/testing.md): the engine as it is, compiled once more with small segments,
# on a disk that exists only in memory. Needs nothing but a compiler.
TIME ?= 60
SIZE ?= 30
SEED ?= 1
PROGRAMS ?= 0
BUG ?= 0
SANITIZE ?=
# What a failure is told with.
COMMIT = "$$(git describe --always --dirty 2>/dev/null || echo unknown)"

CRASH_DIR = build/crash$(if $(SANITIZE),-sanitized)
CRASH_FLAGS = -std=c11 -D_GNU_SOURCE -pthread -Wall -Wextra -g -DAUL_TEST_BUILD
CRASH_CC = $(CC) $(CRASH_FLAGS) -O2 -include csrc/crash/turns.h \
	$(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all \
		-DAUL_SANITIZE='" SANITIZE=$(SANITIZE)"')
CRASH_FILES := $(wildcard csrc/*.c csrc/simdisk/*.c csrc/crash/*.c)
CRASH_HEADERS := $(wildcard csrc/*.h csrc/simdisk/*.h csrc/crash/*.h)
CRASH_RUN = --size $(SIZE) --commit $(COMMIT)

crash: $(CRASH_DIR)/crash$(if $(filter-out 0,$(BUG)),-bugs)
	$< --time $(TIME) --seed $(SEED) --programs $(PROGRAMS) --bug $(BUG) $(CRASH_RUN) $(ARGS)

seeded-bugs: $(CRASH_DIR)/crash-bugs $(VENV)/.base
	$(PY) tests/seeded_bugs.py $< $(ARGS)

# Every call of the disk table fails once, and for ever (docs/testing.md). TIME=0: in every program.
call-failures: $(VENV)/.aurolog $(VENV)/.test
	$(PY) tests/call_failures.py --time $(if $(filter file,$(origin TIME)),170,$(TIME)) \
		--seed $(SEED) --sanitize '$(SANITIZE)' --table build/call-sites.md $(ARGS)

$(CRASH_DIR)/crash: $(CRASH_FILES) $(CRASH_HEADERS)
	@mkdir -p $(@D)
	$(CRASH_CC) $(CRASH_FILES) -o $@

$(CRASH_DIR)/crash-bugs: $(CRASH_FILES) $(CRASH_HEADERS)
	@mkdir -p $(@D)
	$(CRASH_CC) -DAUL_SEEDED_BUGS $(CRASH_FILES) -o $@

# Every bit flips (docs/testing.md): the engine with smaller segments still, and the campaign's
# model. All damage to the volumes of one seed; where TIME is given, other seeds too until it is
# over.
FLIPS_TIME = $(if $(filter file,$(origin TIME)),0,$(TIME))
SHARE ?= 0
SHARES ?= 1

FLIPS_DIR = build/flips$(if $(SANITIZE),-sanitized)
FLIPS_CC = $(subst crash/turns.h,flips/smaller.h,$(CRASH_CC))
FLIPS_FILES := $(filter-out csrc/crash/crash.c,$(CRASH_FILES)) $(wildcard csrc/flips/*.c)
FLIPS_HEADERS := $(CRASH_HEADERS) $(wildcard csrc/flips/*.h)
FLIPS_RUN = --commit $(COMMIT)

flips: $(FLIPS_DIR)/flips
	$< --time $(FLIPS_TIME) --seed $(SEED) --share $(SHARE) --shares $(SHARES) $(FLIPS_RUN) $(ARGS)

# The same, and its figures into the documentation.
flips-table: $(FLIPS_DIR)/flips $(VENV)/.base
	$(PY) tests/flips_table.py $< docs/testing.md

$(FLIPS_DIR)/flips: $(FLIPS_FILES) $(FLIPS_HEADERS)
	@mkdir -p $(@D)
	$(FLIPS_CC) $(FLIPS_FILES) -o $@

# Random programs of the public API (docs/testing.md), EXAMPLES for each seed from SEED on, until
# the time is over. One that fails is printed, and how to repeat it.
EXAMPLES ?= 60

model: $(VENV)/.aurolog $(VENV)/.test
	@seed=$(SEED); end=$$(($$(date +%s) + $(TIME))); \
	while [ $$seed -eq $(SEED) ] || [ $$(date +%s) -lt $$end ]; do \
		echo "== make model SEED=$$seed EXAMPLES=$(EXAMPLES), commit" $(COMMIT); \
		AUROLOG_MODEL_EXAMPLES=$(EXAMPLES) $(PY) -m pytest --quiet tests/test_model.py \
			--timeout 0 --hypothesis-seed=$$seed $(ARGS) || exit 1; \
		seed=$$((seed + 1)); \
	done; \
	echo "$$(((seed - $(SEED)) * $(EXAMPLES))) programs, and a sixth of that with kills; seeds from" \
		"$(SEED) to $$((seed - 1))"

# Fuzzing (docs/testing.md): one program for each target, of an engine that lets any checksum pass.
# `fuzz` needs clang with libFuzzer; `fuzz-corpus`, which runs the inputs kept in tests/corpus/, any
# compiler with sanitizers. TARGET=recovery is one target; several share the TIME.
FUZZ_TARGETS = frame batch footer manifest recovery
TARGET ?= $(FUZZ_TARGETS)
CLANG ?= clang

FUZZ_FILES := $(wildcard csrc/*.c csrc/simdisk/*.c) csrc/crash/crash_model.c csrc/fuzz/fuzz.c \
	csrc/fuzz/volumes.c
FUZZ_HEADERS := $(wildcard csrc/*.h csrc/simdisk/*.h csrc/crash/*.h csrc/fuzz/*.h)
FUZZ_FLAGS = -std=c11 -D_GNU_SOURCE -pthread -Wall -Wextra -O1 -g -fno-omit-frame-pointer \
	-fno-wrapv -DAUL_TEST_BUILD -DAUL_FUZZ_UNCHECKED -include $(CURDIR)/csrc/crash/small.h
FUZZ_CHECKS = -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_RUN = $(PYTHON) tests/fuzz.py

fuzz: $(TARGET:%=build/fuzz/%) $(TARGET:%=build/fuzz-replay/%)
	$(FUZZ_RUN) run --time $(TIME) $(TARGET) $(ARGS)

fuzz-keep: $(TARGET:%=build/fuzz/%)
	$(FUZZ_RUN) keep $(TARGET)

fuzz-corpus:
	@if echo 'int main(void) { return 0; }' | \
		$(CC) -xc - $(FUZZ_CHECKS) -o /dev/null 2>/dev/null; then \
		$(MAKE) --no-print-directory $(TARGET:%=build/fuzz-replay/%) && \
		$(FUZZ_RUN) replay $(TARGET); \
	else \
		echo '##### fuzz-corpus: SKIPPED, $(CC) has no sanitizers (make test-tools)'; \
	fi

fuzz-coverage: $(TARGET:%=build/fuzz-coverage/%)
	$(FUZZ_RUN) coverage $(TARGET)

# $(1): directory, $(2): compiler, $(3): flags, $(4): more flags and files for the program.
define FUZZ_BUILD
build/$(1)/engine.a: $(FUZZ_FILES) $(FUZZ_HEADERS)
	@rm -rf build/$(1)/objects && mkdir -p build/$(1)/objects
	@echo '== $(1): the engine with $(3)'
	@cd build/$(1)/objects && printf '%s\n' $(abspath $(FUZZ_FILES)) | \
		xargs -n 6 -P "$$$$(getconf _NPROCESSORS_ONLN)" $(2) $(FUZZ_FLAGS) $(3) -c
	@ar rcs $$@ build/$(1)/objects/*.o

build/$(1)/%: csrc/fuzz/fuzz_%.c csrc/fuzz/replay.c build/$(1)/engine.a
	$(2) $(FUZZ_FLAGS) $(3) $$< $(4) build/$(1)/engine.a -o $$@
endef
$(eval $(call FUZZ_BUILD,fuzz,$(CLANG),-fsanitize=fuzzer-no-link $(FUZZ_CHECKS) \
	-fsanitize-coverage-ignorelist=$(CURDIR)/csrc/fuzz/unguided.txt,-fsanitize=fuzzer))
$(eval $(call FUZZ_BUILD,fuzz-replay,$(CC),$(FUZZ_CHECKS),csrc/fuzz/replay.c))
$(eval $(call FUZZ_BUILD,fuzz-coverage,$(CLANG),-fprofile-instr-generate -fcoverage-mapping,\
	csrc/fuzz/replay.c))

# What the tests above need besides Python, a C compiler and make; as root, or it tells what.
test-tools:
	@sh tests/tools.sh

# Kills, power cuts and full disks on the real kernel, a third of the time each (docs/testing.md).
# The last two need root, loop devices and mkfs.ext4; without, they are skipped, and say so.
kernel: $(VENV)/.aurolog $(VENV)/.test
	$(PY) tests/kernel.py kill power full --seconds $$(($(TIME) / 3)) --seed $(SEED) $(ARGS) \
		|| [ $$? -eq 77 ]

# Threads on one volume (docs/testing.md), half of the time in C, with small segments and nothing to
# order the threads, and half through Python.
STRESS_FILES := $(wildcard csrc/*.c csrc/stress/*.c)
STRESS_HEADERS := $(wildcard csrc/*.h) csrc/crash/small.h csrc/simdisk/random.h
STRESS_CC = $(CC) -std=c11 -D_GNU_SOURCE -pthread -Wall -Wextra -O1 -g -DAUL_TEST_BUILD \
	-include csrc/crash/small.h
STRESS_IN = scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT

stress: build/stress/stress $(VENV)/.aurolog
	@$(STRESS_IN) && $< "$$scratch" --time $$(($(TIME) / 2)) --seed $(SEED) \
		--commit $(COMMIT)
	$(PY) tests/stress.py --seconds $$(($(TIME) / 2)) --seed $(SEED) $(ARGS)

build/stress/stress: $(STRESS_FILES) $(STRESS_HEADERS)
	@mkdir -p $(@D)
	$(STRESS_CC) $(STRESS_FILES) -o $@

build/stress/stress-tsan: $(STRESS_FILES) $(STRESS_HEADERS)
	@mkdir -p $(@D)
	$(subst $(CC),$(SANITIZE_CC),$(STRESS_CC)) -fsanitize=thread $(STRESS_FILES) -o $@

# Both, a third of the time each, and the tests with threads, under ThreadSanitizer. Any report is a
# failure. `setarch` because older libraries cannot live with all of the kernel's random addresses.
tsan: REPORT = $(abspath $(TSAN_VENV))/report
tsan: SANITIZERS = thread
tsan: SANITIZER_LIBRARIES = tsan
tsan: build/stress/stress-tsan $(TSAN_VENV)/.sanitized
	@rm -f $(REPORT).*
	@$(STRESS_IN); status=0; steady=; \
	! setarch -R true 2>/dev/null || steady='setarch -R'; \
	export TSAN_OPTIONS=log_path=$(REPORT):history_size=4; \
	$$steady $< "$$scratch" --time $$(($(TIME) / 3)) --seed $(SEED) --commit $(COMMIT) \
		|| status=$$?; \
	unset PYTHONPATH; export LD_PRELOAD="$$(cat $(TSAN_VENV)/.sanitized)"; \
	$$steady $(TSAN_PY) tests/stress.py --session 3 --seconds $$(($(TIME) / 3)) --seed $(SEED) \
		|| status=$$?; \
	$$steady $(TSAN_PY) -m pytest -p no:faulthandler --timeout=1200 -m threads $(ARGS) \
		|| status=$$?; \
	$(SHOW_REPORTS)

# What lies between two paths (docs/testing.md): random ones over random volumes. PROGRAMS=1 repeats
# one; SANITIZE=address,undefined builds with sanitizers.
PATHS_DIR = build/paths$(if $(SANITIZE),-sanitized)
PATHS_FILES := $(wildcard csrc/*.c csrc/simdisk/*.c csrc/paths/*.c)
PATHS_HEADERS := $(wildcard csrc/*.h csrc/simdisk/*.h csrc/paths/*.h) csrc/crash/small.h

paths: $(PATHS_DIR)/paths
	$< --time $(TIME) --seed $(SEED) --programs $(PROGRAMS) --commit $(COMMIT)

$(PATHS_DIR)/paths: $(PATHS_FILES) $(PATHS_HEADERS)
	@mkdir -p $(@D)
	$(subst crash/turns.h,paths/sizes.h,$(CRASH_CC)) $(PATHS_FILES) -o $@

# Branches that are taken by the test suite and by the programs above (docs/testing.md), all over an
# engine that counts; the programs' own files do not.
COVERAGE_DIR = build/coverage
COVERAGE_CC ?= gcc
COVERED_PROGRAMS ?= 30
LEVELS ?= 2
LEAST ?= 95
COVERAGE_FUZZ = $(FUZZ_TARGETS:%=$(COVERAGE_DIR)/fuzz/%)
# Tests that build programs of their own; interrupts, of which one in coverage.py leaves its lock
# taken; and a limit of a file's size under which no counts can be written.
UNCOUNTED = $(patsubst --ignore=%,%,$(APART)) \
	tests/test_transactions.py::test_ctrl_c_leaves_a_usable_handle_and_a_told_outcome \
	tests/test_cli.py::test_a_full_disk_leaves_no_half_export

coverage: export COVERAGE_FILE = $(abspath $(COVERAGE_DIR))/python
coverage: $(VENV)/.aurolog $(VENV)/.test $(VENV)/.dev coverage-programs
	@rm -rf $(COVERAGE_FILE)* $(COVERAGE_DIR)/lib
	AUROLOG_COVERAGE=1 CC=$(COVERAGE_CC) $(PY) setup.py --quiet build \
		--build-base $(COVERAGE_DIR)/native --build-lib $(COVERAGE_DIR)/lib
	PYTHONPATH=$(abspath $(COVERAGE_DIR)/lib) $(PY) -m coverage run -m pytest $(PARALLEL) \
		$(addprefix --deselect ,$(UNCOUNTED)) $(ARGS)
	@$(PY) -W ignore -m coverage combine --quiet
	@rm -f $(COVERAGE_FILE).* # halves, of processes that were killed
	@$(MAKE) --no-print-directory coverage-report

# Less of everything, for CI: that something is not taken is no error then.
coverage-part:
	@$(MAKE) --no-print-directory coverage COVERED_PROGRAMS=10 LEVELS=1 LEAST=94 LIST=--part \
		ARGS='-m "not slow"'

coverage-programs: $(VENV)/.test $(COVERAGE_FUZZ) \
	$(addprefix $(COVERAGE_DIR)/,crash flips stress paths)
	@find $(COVERAGE_DIR) -name '*.gcda' -delete
	$(COVERAGE_DIR)/crash --programs $(COVERED_PROGRAMS) --seed 1
	$(COVERAGE_DIR)/flips --seed 1 --shares 300 >/dev/null
	@$(STRESS_IN) && $(COVERAGE_DIR)/stress "$$scratch" --time 8 --seed 1
	$(COVERAGE_DIR)/paths --programs 6 --seed 1
	@for target in $(FUZZ_TARGETS); do \
		$(COVERAGE_DIR)/fuzz/$$target $(wildcard tests/corpus/*) 2>/dev/null || exit 1; \
	done
	AUROLOG_COVERAGE=1 CC=$(COVERAGE_CC) $(PY) tests/call_failures.py --levels $(LEVELS) --time 0

# LIST=--write brings the list of docs/coverage.md up to date.
coverage-report: export COVERAGE_FILE = $(abspath $(COVERAGE_DIR))/python
coverage-report:
	@$(PY) -m coverage json --quiet -o $(COVERAGE_FILE).json
	@$(VENV)/bin/gcovr --root . --filter 'csrc/[a-z0-9_]+\.[ch]' --json $(COVERAGE_DIR)/c.json \
		--gcov-suspicious-hits-threshold 0 \
		--exclude-branches-by-pattern '\s*AUL_MUST\(' $(COVERAGE_DIR)
	$(PY) tests/coverage_report.py $(COVERAGE_DIR)/c.json $(COVERAGE_FILE).json --least $(LEAST) \
		$(LIST)

# What `coverage` leaves out of the test suite.
test-uncounted: $(VENV)/.aurolog $(VENV)/.test
	$(PY) -m pytest $(PARALLEL) $(UNCOUNTED) $(ARGS)

# $(1): program, $(2): its sizes.
define COVERAGE_BUILD
$(COVERAGE_DIR)/$(1)-engine/%.o: csrc/%.c $(CRASH_HEADERS) csrc/$(2)
	@mkdir -p $$(@D)
	@$(COVERAGE_CC) $(CRASH_FLAGS) -O0 --coverage -fprofile-update=atomic -include csrc/$(2) \
		-c $$< -o $$@

$(COVERAGE_DIR)/$(1): $(patsubst csrc/%.c,$(COVERAGE_DIR)/$(1)-engine/%.o,$(wildcard csrc/*.c)) $(3)
	@$(COVERAGE_CC) $(CRASH_FLAGS) -O2 -include csrc/$(2) $$^ -lgcov -o $$@
endef
$(eval $(call COVERAGE_BUILD,crash,crash/turns.h,$(wildcard csrc/simdisk/*.c csrc/crash/*.c)))
$(eval $(call COVERAGE_BUILD,stress,crash/small.h,$(wildcard csrc/stress/*.c)))
$(eval $(call COVERAGE_BUILD,paths,paths/sizes.h,$(wildcard csrc/simdisk/*.c csrc/paths/*.c)))
$(eval $(call COVERAGE_BUILD,flips,flips/smaller.h,\
	$(filter-out $(wildcard csrc/*.c),$(FLIPS_FILES))))
$(eval $(call FUZZ_BUILD,coverage/fuzz,$(COVERAGE_CC),-O0 --coverage,csrc/fuzz/replay.c))
