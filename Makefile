# make demo: finished tables, figures, page and report on a laptop. make test: every test. Both begin by making .venv.
PYTHON ?= python3
BIN := .venv/bin
# On a machine with the public index, PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" selects the
# CPU build of torch; see envs/README.md.
PIP_FLAGS ?=

.PHONY: demo test lint clean

# A killed Snakemake leaves its lock behind. Under a lock of the system's, which dies with its holder, it may be removed.
demo: .venv/installed
	@flock --nonblock results/.lock true || (echo "another demo is running here"; exit 1)
	@flock results/.lock $(BIN)/snakemake --profile demo --unlock --quiet all
	flock results/.lock $(BIN)/snakemake --profile demo --configfile demo/rows.yaml
	@flock results/.lock $(BIN)/snakemake --profile demo --configfile demo/rows.yaml --report results/demo/report.html --quiet all
	@echo "page:   $(CURDIR)/results/demo/index.html"
	@echo "report: $(CURDIR)/results/demo/report.html"

test: .venv/installed
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

# Exact versions without their dependencies: nnunetv2 would pull torchvision through timm, which breaks a CPU torch.
.venv/installed: envs/train.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(PIP_FLAGS) -r envs/train.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf results/demo .pytest_cache .ruff_cache
