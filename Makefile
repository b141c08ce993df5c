# make demo: the finished tables, figures and report on a laptop. make test: every test. Both begin by making .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check $(PIP_FLAGS)

# Which build of torch: cuda where the NVIDIA driver is loaded, else cpu. On a login node without a GPU: make TORCH=cuda.
# Other builds of PyTorch's own index go by its name for them: make TORCH=cu126 (envs/README.md).
DRIVER ?= /proc/driver/nvidia/version
TORCH ?= $(if $(wildcard $(DRIVER)),cuda,cpu)
TORCH_INDEX ?= https://download.pytorch.org/whl
TORCH_VERSION = $(shell sed -n 's/^torch==\([^ ]*\).*/\1/p' envs/cuda.lock)
SIZE = $(shell sed -n 's/^\# [0-9]* packages, \(.*\) to download.*/\1/p' envs/$(1).lock)

.PHONY: demo test lint lock clean

# A killed Snakemake leaves its lock behind. Under a lock of the system's, which dies with its holder, it may be removed.
demo: .venv/installed
	@flock --nonblock results/.lock true || (echo "another demo is running here"; exit 1)
	@flock results/.lock $(BIN)/snakemake --profile demo --unlock --quiet all
	flock results/.lock $(BIN)/snakemake --profile demo --configfile demo/rows.yaml
	@flock results/.lock $(BIN)/snakemake --profile demo --configfile demo/rows.yaml --report results/demo/report.html --quiet all
	@echo "report: $(CURDIR)/results/demo/report.html"

test: .venv/installed-dev
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/codespell
	$(BIN)/snakemake --lint

# The lists of pyproject.toml, resolved to envs/*.lock.
lock:
	$(PYTHON) -m venv .venv
	$(BIN)/python -c 'import uv' 2> /dev/null || $(PIP) uv
	$(BIN)/python envs/lock.py $(LOCK_FLAGS)

# Exact files, by hash, without resolving: nnunetv2 would pull torchvision through timm, which breaks a torch of another build.
.venv/installed: envs/train.lock envs/cuda.lock pyproject.toml Makefile
	$(PYTHON) -m venv .venv
	@echo "downloading $(call SIZE,train) of packages, then the $(TORCH) build of torch $(TORCH_VERSION): $(if $(filter \
	cuda,$(TORCH)),$(call SIZE,cuda) with its CUDA libraries,$(if $(filter cpu,$(TORCH)),about 190 MB,see $(TORCH_INDEX)/$(TORCH)))"
	$(PIP) --no-deps --require-hashes -r envs/train.lock
	$(INSTALL_TORCH_$(if $(filter cuda,$(TORCH)),CUDA,OTHER))
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/installed-dev: .venv/installed envs/dev.lock
	@echo "downloading $(call SIZE,dev) of packages for tests and lint"
	$(PIP) --no-deps --require-hashes -r envs/dev.lock
	@touch $@

INSTALL_TORCH_CUDA = $(PIP) --no-deps --require-hashes -r envs/cuda.lock
# Its other requirements are in train.lock. A site's own index or folder of wheels is asked before PyTorch's.
INSTALL_TORCH_OTHER = $(PIP) torch==$(TORCH_VERSION)+$(TORCH) 2> /dev/null \
	|| $(PIP) --extra-index-url $(TORCH_INDEX)/$(TORCH) torch==$(TORCH_VERSION)+$(TORCH)

clean:
	rm -rf results/demo .pytest_cache .ruff_cache
