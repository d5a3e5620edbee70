# `make demo` and `make test` work from nothing; the other targets are their parts.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Any Python from 3.10 on; the trainer links the libtorch inside the `torch` package that it installs.
PYTHON ?= python3
# Another wheel index, for instance PyTorch's CPU-only one: make demo TORCH_INDEX_URL=…
TORCH_INDEX_URL ?=
TORCH_VERSION := 2.11.0

TORCH := .venv/.torch-$(TORCH_VERSION)
export PATH := $(CURDIR)/.venv/bin:$(PATH)

SAMPLE := worker/assets/cifar10-sample

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: build sample ## Run a small real sweep on real images and show its results
	@echo "== sweep run sweeps/demo.yaml"
	@target/release/sweep run sweeps/demo.yaml

sample: build ## Import the sample images that the repository ships
	@target/release/sweep data import cifar10-sample --train $(SAMPLE)-train.tar.xz --test $(SAMPLE)-test.tar.xz \
		--eval shifted=$(SAMPLE)-shifted.tar.xz

build: $(TORCH) ## Build sweep, sweep-worker and sweep-trainer (release)
	@echo "== build (release)"
	@cargo build --release --locked --workspace --bins

venv: $(TORCH) ## Make .venv with PyTorch

$(TORCH):
	@echo "== .venv with torch $(TORCH_VERSION) (about 5 GB; minutes)"
	@$(PYTHON) -c 'import sys; sys.exit("make: needs Python 3.10 or newer; name one with PYTHON=…") if sys.version_info < (3, 10) else None'
	@$(PYTHON) -m venv .venv
	@.venv/bin/pip install --quiet --no-input --disable-pip-version-check "torch==$(TORCH_VERSION)" \
		$(if $(TORCH_INDEX_URL),--index-url "$(TORCH_INDEX_URL)")
	@touch $@

test: lint test-run test-recipes test-api test-slurm test-browser test-export ## Set up, lint and run every test

# The binaries first: tests start them, whatever package a test belongs to.
test-run: $(TORCH)
	@echo "== build (tests)"
	@cargo build --locked --workspace --bins
	@cargo test --locked --workspace --lib --bins --tests --no-run
	@echo "== test"
	@mkdir -p target && cargo test --locked --workspace --lib --bins --tests --no-fail-fast 2>&1 | tee target/test.log
	@awk '/^test result:/ { passed += $$4; failed += $$6; skipped += $$8 } \
		END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }' target/test.log

test-recipes: $(TORCH) ## Try every code path of every recipe in sweeps/, in small, on real images
	@cargo build --locked --workspace --bins
	@echo "== test-recipes"
	@cargo test --locked --workspace --test recipes -- --ignored --nocapture

test-long: $(TORCH) ## Run what takes minutes more: ten times as many histories
	@cargo test --locked --workspace --lib -- --ignored

# One that failed is shown, with all that happened, by SEED=.
sim: ## Simulate whole lives of coordinator and agents (SEEDS=10000; on a disk: ON_DISK=500; one: SEED=7)
	@$(if $(SEED),SWEEP_SIM_SEED=$(SEED)) SWEEP_SIM_SEEDS=$(or $(if $(SEED),1),$(SEEDS),10000) SWEEP_SIM_SEEDS_ON_DISK=$(or $(ON_DISK),$(if $(SEED),1),500) \
		cargo test --release --locked --package sweep-worker --no-default-features --bin sweep-worker simulation -- --nocapture

# One that fails shows its seed, what happened, and the ends of all logs; SEED= makes the same faults again.
chaos: $(TORCH) ## Work on sweeps while everything is killed, stopped, cut off and confused (SEED=n; JOBS=500 FAULTS=200)
	@cargo build --locked --workspace --bins
	@SWEEP_CHAOS_SEED=$(or $(SEED),$(shell date +%s)) SWEEP_CHAOS_JOBS=$(JOBS) SWEEP_CHAOS_FAULTS=$(FAULTS) \
		cargo test --locked --workspace --test chaos -- --ignored --nocapture

# schemathesis lives apart, like Optuna. Without a package index this one is left out, except where everything must hold.
test-api: $(TORCH) ## Ask a real coordinator what its OpenAPI document allows and forbids (EXAMPLES=n a route)
	@cargo build --locked --workspace --bins
	@if $(MAKE) --no-print-directory target/api-venv/.done; then \
		echo "== test-api"; tests/api/run.sh target/api-venv/bin/st $(EXAMPLES); \
	elif [ "$${CI:-}" = true ]; then \
		echo "make: schemathesis can't be installed"; exit 1; \
	else \
		echo "SKIPPED test-api: schemathesis can't be installed (pip said why, above)"; \
	fi

# Chromium is Debian's package, what drives it is npm's playwright-core. Where they can't be had this is left out, except where everything must hold.
test-browser: $(TORCH) ## Look at a report and the dashboard in a headless Chromium; its screenshots stay in target/browser/screenshots
	@cargo build --locked --workspace --bins
	@mkdir -p target/browser
	@if reason=$$(tests/browser/install.sh target/browser 2>&1 >/dev/null); then \
		echo "== test-browser"; timeout 300 tests/browser/run.sh target/debug/sweep target/browser; \
	elif [ "$${CI:-}" = true ]; then \
		echo "$$reason"; echo "make: there is no browser to test in"; exit 1; \
	else \
		echo "SKIPPED test-browser: $$(tail -n 1 <<<"$$reason")"; \
	fi

SHOWN := report-light dashboard-sweep-light dashboard-sweep-dark dashboard-trial-light dashboard-running-phone
screenshots: $(TORCH) ## Take pictures of a report, the dashboard and terminals into target/screenshots, and of them into docs/screenshots
	@cargo build --locked --workspace --bins
	@tests/browser/install.sh target/browser
	@rm -rf target/screenshots && mkdir -p target/screenshots
	@tests/browser/pictures.sh target/debug/sweep target/browser target/screenshots
	@mkdir -p docs/screenshots && cp $(SHOWN:%=target/screenshots/%.png) target/screenshots/terminal-*.png docs/screenshots/
	@echo "make: the pictures are in target/screenshots/; those of the documentation in docs/screenshots/"

# The tools that exports are for, from PyPI. Without a package index this one is left out, except where everything must hold.
test-export: $(TORCH) ## Hand a sweep to TensorBoard, Optuna, MLflow and W&B, and read it back with their own packages
	@cargo build --locked --workspace --bins
	@if $(MAKE) --no-print-directory target/export-venv/.done; then \
		echo "== test-export"; timeout 480 tests/export/run.sh target/debug/sweep target/export-venv/bin/python; \
	elif [ "$${CI:-}" = true ]; then \
		echo "make: the tools that exports are for can't be installed"; exit 1; \
	else \
		echo "SKIPPED test-export: the tools that exports are for can't be installed (pip said why, above)"; \
	fi

target/export-venv/.done:
	@echo "== target/export-venv"
	@$(PYTHON) -m venv target/export-venv
	@target/export-venv/bin/pip install --quiet --no-input --disable-pip-version-check tensorboard optuna wandb mlflow
	@touch $@

target/api-venv/.done:
	@echo "== target/api-venv"
	@$(PYTHON) -m venv target/api-venv
	@target/api-venv/bin/pip install --quiet --no-input --disable-pip-version-check "schemathesis==4.32.5"
	@touch $@

# A real Slurm (slurmctld, slurmd, munge: Debian's packages, installed here by root), several of them beside each other on this
# host for the time of the tests. Where it can't be had this is left out, except where everything must hold.
test-slurm: $(TORCH) ## Run workers on a real Slurm of this host (TEST=name: those of this name)
	@cargo build --locked --workspace --bins
	@if reason=$$(tests/slurm/cluster install 2>&1 >/dev/null); then \
		echo "== test-slurm"; tests/slurm/run.sh $(TEST); \
	elif [ "$${CI:-}" = true ]; then \
		echo "$$reason"; echo "make: Slurm can't be installed"; exit 1; \
	else \
		echo "SKIPPED test-slurm: $$(tail -n 1 <<<"$$reason")"; \
	fi

lint: $(TORCH) ## Check formatting and lints
	@echo "== lint"
	@cargo fmt --all --check
	@cargo clippy --locked --workspace --all-targets -- -D warnings
	@echo "== lint (the agent without libtorch, and so the root package without its coordinator)"
	@cargo clippy --locked --package sweep-worker --no-default-features --all-targets -- -D warnings
	@cargo clippy --locked --package sweep-worker --no-default-features --bin sweep-worker -- -D warnings

bench: bench-tasks ## Same as bench-tasks; bench-train, bench-store, bench-results, bench-look and bench-load are the others

# Optuna lives apart: nothing else needs it. Without a package index it is left out.
bench-tasks: build ## Time 5,000 trials of /bin/true beside a bare xargs and Optuna (five minutes; ARGS="--trials 1000")
	@$(MAKE) --no-print-directory target/optuna-venv/.done || echo "make: Optuna can't be installed (pip said why, above)"
	@$(PYTHON) benches/tasks.py $(ARGS)

bench-train: build ## Time the trainer beside plain PyTorch, alternating (about ten minutes; ARGS=--quick: one)
	@.venv/bin/python benches/train.py $(ARGS)

bench-store: target/optuna-venv/.done ## Time the job table at a million trials (three minutes; SCALE=100000: one)
	@cargo bench --locked --package sweep --bench store -- $(SCALE)

# The sweep is made once; `rm -r target/synthetic` makes it anew.
target/synthetic/.sweep/done:
	@mkdir -p target/synthetic && rm -rf target/synthetic/.sweep
	@cargo bench --locked --package sweep --bench results -- "$(CURDIR)/target/synthetic"
	@touch $@

bench-results: build target/optuna-venv/.done target/synthetic/.sweep/done ## Time all that looks at 10,000 trials x 50 epochs x 8 metrics, and Optuna (minutes the first time)
	@tests/browser/install.sh target/browser || echo "make: pages are not timed (why, above)"
	@NODE_PATH="$(CURDIR)/target/browser/node_modules" $(PYTHON) benches/results/measure.py target/release/sweep target/synthetic target/optuna-venv/bin/python

bench-look: target/synthetic/.sweep/done ## The same without Optuna and libtorch, and without pages where `make test-browser` has not run
	@cargo build --release --locked --package sweep --bin sweep
	@NODE_PATH="$(CURDIR)/target/browser/node_modules" $(PYTHON) benches/results/measure.py target/release/sweep target/synthetic

bench-load: ## Time a coordinator under the load of 200 simulated agents for a minute (ARGS="SECONDS AGENTS")
	@cargo bench --locked --package sweep --bench load -- $(ARGS)

target/optuna-venv/.done:
	@echo "== target/optuna-venv"
	@$(PYTHON) -m venv target/optuna-venv
	@target/optuna-venv/bin/pip install --quiet --no-input --disable-pip-version-check optuna optuna-dashboard
	@touch $@

# Python's SQLite may be too old to have `unhex`.
sqlx: ## Refresh .sqlx after a change of SQL or of the migrations
	@rm -rf .sqlx target/schema.db && mkdir -p .sqlx target
	@$(PYTHON) -c 'import glob, sqlite3; db = sqlite3.connect("target/schema.db"); db.create_function("unhex", 1, bytes.fromhex); [db.executescript(open(f).read()) for f in sorted(glob.glob("migrations/*.sql"))]'
	@touch src/lib.rs
	@SQLX_OFFLINE_DIR="$(CURDIR)/.sqlx" DATABASE_URL="sqlite://$(CURDIR)/target/schema.db" cargo check --package sweep

clean: ## Remove what was built; results in .sweep/ and .venv stay
	@cargo clean

.PHONY: help demo sample build venv test test-run test-recipes test-api test-browser screenshots test-export test-slurm test-long sim chaos lint bench bench-tasks bench-train bench-store bench-results bench-look bench-load sqlx clean
