# Verbs for people who work on pyasync. PYTHON is one with the `test` extra (for bench and profile: `bench`) and setuptools installed.
PYTHON ?= .venv/bin/python
RESULTS ?= build/results
CASE ?= switch
LOOP ?= pyasync
TOOL ?= perf
SECONDS ?= 5

.PHONY: help build test stdlib libraries compatibility bench profile

help:
	@echo "make build       build the extension in place"
	@echo "make test        pyasync's own tests"
	@echo "make stdlib      CPython's own asyncio tests on pyasync (a quarter of an hour)"
	@echo "make libraries   libraries' own tests, and programs of theirs, on asyncio and on pyasync (one or two hours)"
	@echo "make compatibility  both, on every CPython from 3.11 to 3.15 that is found, and the tables of docs/compatibility.md made of it"
	@echo "                 (hours; it can be stopped and goes on where it was)"
	@echo "make bench       the benchmarks, against asyncio and other loops; TOPICS=... chooses some"
	@echo "make profile     where the time of one case goes: CASE=$(CASE) LOOP=$(LOOP) TOOL=perf|py-spy|callgrind SECONDS=$(SECONDS);"
	@echo "                 docs/performance.md says how to read what comes out"
	@echo "PYTHON=... chooses the interpreter: $(PYTHON). RESULTS=... is where stdlib and libraries keep results: $(RESULTS)"

build:
	$(PYTHON) setup.py -q build_ext --inplace

test: build
	$(PYTHON) -m pytest -q

stdlib: build
	mkdir -p $(RESULTS)
	$(PYTHON) tests/stdlib --save $(RESULTS)/stdlib --log $(RESULTS)/stdlib.log

libraries: build
	mkdir -p $(RESULTS)
	$(PYTHON) tests/libraries --save $(RESULTS)/libraries --log $(RESULTS)/libraries.log

compatibility:
	$(PYTHON) tests/compatibility.py --results $(RESULTS)/compatibility

bench: build
	$(PYTHON) benchmarks/compare.py $(TOPICS)

profile:
	$(PYTHON) benchmarks/profile_case.py $(LOOP) $(CASE) --tool $(TOOL) --seconds $(SECONDS)
