# Shardline. `make help` lists the targets; every one builds what it misses.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
# The set that is installed already, else the CPU set.
DEVICE ?= $(if $(wildcard .venv/.installed-cuda),cuda,cpu)
RANKS ?= 2
# Raw Criteo text: train.txt, a day_N, plain or .gz, or a folder of days. Empty: generated rows with a known best AUC.
CRITEO ?=
# For make bench: checkouts of facebookresearch/dlrm and reczoo/FuxiCTR, the Python of an environment with fuxictr and deepctr-torch,
# and the parts to run (all unless named). `python -m benchmarks.suite --help` lists them.
DLRM ?=
FUXICTR ?=
CTR_PYTHON ?=
PARTS ?=
# More settings for the training, such as ARGS="--training.num_epochs 2".
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(DEVICE)
CODE := data models sharding_plans pipeline benchmarks tests

ifneq ($(filter-out cpu cuda,$(DEVICE)),)
$(error DEVICE is $(DEVICE); expected cpu or cuda)
endif

ifeq ($(CRITEO),)
DATA := artifacts/data/demo
RAW := artifacts/data/demo.tsv.gz
CONFIG ?= pipeline/configs/demo.yaml
else
SPACE := $(subst ,, )
DATA := artifacts/data/criteo-$(subst .,-,$(subst $(SPACE),-,$(notdir $(CRITEO:/=))))
RAW := $(CRITEO)
CONFIG ?= $(firstword $(wildcard pipeline/configs/criteo_kaggle.yaml) pipeline/configs/demo.yaml)
# A folder holds the days of the 1TB log: train on all but the last, whose halves are for validation and test.
SPLIT := $(shell [ -d "$(CRITEO)" ] && echo --split.by day)
endif

.PHONY: help
help:  ## this list
	@echo "Shardline: planned sharded training, exact AUC evaluation, sharding-plan comparison."
	@echo
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  Options: CRITEO=path (train on it)  DEVICE=cpu|cuda  RANKS=2  PYTHON=python3.11  ARGS=\"--any.setting value\""

.PHONY: train
train: $(STAMP) $(if $(CRITEO),,$(RAW))  ## prepare the demo data (or CRITEO=path), train on 2 ranks, evaluate, report
	$(BIN)/shardline prepare --source "$(RAW)" --output "$(DATA)" $(SPLIT)
	$(BIN)/shardline train --config $(CONFIG) --data.path "$(DATA)" --ranks $(RANKS) --device $(DEVICE) $(ARGS)

artifacts/data/demo.tsv.gz: | $(STAMP)
	$(BIN)/shardline generate criteo-like --output $@

.PHONY: test
test: $(STAMP)  ## run the tests
	$(BIN)/python -m pytest

.PHONY: chaos
chaos: $(STAMP)  ## kill a training run 100 times and see that it ends bit for bit like an undisturbed one
	SHARDLINE_TEST_KILLS=100 $(BIN)/python -m pytest -s tests/pipeline/test_chaos.py

.PHONY: bench
bench: $(STAMP)  ## time everything, beside the peers that are named; the report goes to docs/benchmarks/
	$(BIN)/python -m benchmarks.suite $(if $(DLRM),--dlrm "$(DLRM)") $(if $(FUXICTR),--fuxictr "$(FUXICTR)") \
	  $(if $(CTR_PYTHON),--ctr-python "$(CTR_PYTHON)") $(if $(PARTS),--parts $(PARTS)) $(ARGS)

.PHONY: lint
lint: $(STAMP)  ## ruff, and the order of the folders
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: typecheck
typecheck: $(STAMP)  ## pyright
	$(BIN)/pyright

.PHONY: format
format: $(STAMP)  ## let ruff mend and lay out the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: doctor
doctor: $(STAMP)  ## say whether the installation is sound
	$(BIN)/python -m pipeline.jobs.doctor

.PHONY: setup
setup: $(STAMP)  ## build .venv, and nothing else

.PHONY: clean
clean:  ## remove .venv and caches; what runs produced (artifacts/) stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# One environment holds one set: the two builds of FBGEMM break each other, so a change of DEVICE starts from nothing.
$(STAMP): requirements/common.txt requirements/$(DEVICE).txt requirements/torchrec.txt requirements/dev.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  echo "There is no $(PYTHON) here. Shardline needs Python 3.11 or later; name yours: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; \
	  exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) --version). Shardline needs Python 3.11 or later: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; \
	  exit 2; }
	@[ -z "$(filter-out $@,$(wildcard $(VENV)/.installed-*))" ] || rm -rf $(VENV)
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@echo "Installing the $(DEVICE) set into $(VENV): a few minutes, once."
	$(BIN)/pip install --quiet -r requirements/$(DEVICE).txt -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps -r requirements/torchrec.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
