# make profile CASE=switch [LOOP=pyasync] [TOOL=perf|py-spy|callgrind] [PYTHON=python3] [SECONDS=5]
# docs/performance.md, "Where the time goes", says how to read what comes out.

PYTHON ?= python3
CASE ?= switch
LOOP ?= pyasync
TOOL ?= perf
SECONDS ?= 5

.PHONY: profile bench
profile:
	$(PYTHON) benchmarks/profile_case.py $(LOOP) $(CASE) --tool $(TOOL) --seconds $(SECONDS)

bench:
	$(PYTHON) benchmarks/compare.py $(TOPICS)
