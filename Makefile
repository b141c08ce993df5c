# make demo: finished tables, figures, page and report on a laptop; make demo-all: every row of them, in longer. make test:
# every test. make speed: what is how fast. All begin by making .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

# make TORCH=cuda: the CUDA build of torch on a machine without a GPU, such as a login node (envs/README.md).
export TORCH TORCH_INDEX DRIVER

.PHONY: demo demo-all test lint speed lock clean

# A killed Snakemake leaves its lock behind. Under a lock of the system's, which dies with its holder, it may be removed.
demo: ROWS := --configfile demo/rows.yaml
demo demo-all: .venv/installed
	@flock --nonblock results/.lock true || (echo "another demo is running here"; exit 1)
	@flock results/.lock $(BIN)/snakemake --profile demo --unlock --quiet all
	flock results/.lock $(BIN)/snakemake --profile demo $(ROWS) --config scale=demo progress=true \
		--report results/demo/report.html --report-after-run
	@echo "page:   $(CURDIR)/results/demo/index.html"
	@echo "report: $(CURDIR)/results/demo/report.html"

test: .venv/installed-dev
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/codespell
	$(BIN)/snakemake --lint

# Every script of speed/ in small form; the table of docs/speed.md. On a quiet machine, or the table says that it was not.
speed: .venv/installed-dev
	$(BIN)/python speed/table.py

# The lists of pyproject.toml, resolved to envs/*.lock.
lock:
	$(PYTHON) -m venv .venv
	$(BIN)/python -c 'import uv' 2> /dev/null || $(PIP) uv
	$(BIN)/python envs/lock.py $(LOCK_FLAGS)

.venv/installed: envs/install.sh envs/train.lock envs/cuda.lock pyproject.toml
	$(PYTHON) -m venv .venv
	envs/install.sh $(CURDIR)/$(BIN)/python
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/installed-dev: .venv/installed envs/dev.lock
	@sed -n 's/^# \(.*\)/tests and lint: \1/p' envs/dev.lock | tail -1
	$(PIP) --no-deps --require-hashes -r envs/dev.lock
	@touch $@

clean:
	rm -rf results/demo .pytest_cache .ruff_cache .mypy_cache
