# make setup | demo | app | stage1 | sweep-demo | test | test-slow | check | help
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# not compiled: of 21,000 files, 3,000 are ever imported, and compiled then; the rest is a minute
INSTALL := $(RUN) -m pip install --disable-pip-version-check --no-compile -c constraints.txt
# gradio and what else it needs, without its bound on Pillow, with whose next version it works (tests/app_page)
APP_PACKAGES := gradio gradio_client brotli fastapi groovy hf-gradio orjson pydub python-multipart pytz safehttpx \
  semantic-version starlette tomlkit uvicorn
RUN_DIR := $(or $(RUN_DIR),runs/demo/$(shell date +%Y-%m-%d_%H-%M-%S))

.PHONY: setup demo app stage1 sweep-demo test test-slow lint types check help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## install everything into .venv (once)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "error: Python 3.11 or newer is needed, '$(PYTHON)' is not;" \
	            "try: make PYTHON=python3.12 setup" >&2; exit 1; }
	@[ -d $(VENV)/lib ] \
	  || $(PYTHON) -c 'import shutil, sys; sys.exit(shutil.disk_usage(".").free < 4e9)' \
	  || { echo "error: 4 GB of free disk are needed for $(VENV)" >&2; exit 1; }
	@echo "installing into $(VENV), a few minutes (log: $(VENV)/pip.log)"
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "error: could not create $(VENV); on Debian: apt install python3-venv" >&2; exit 1; }
	@$(INSTALL) torch > $(VENV)/pip.log 2>&1 \
	  && $(INSTALL) -e '.[dev]' \
	       >> $(VENV)/pip.log 2>&1 \
	  && $(INSTALL) --no-deps $(APP_PACKAGES) >> $(VENV)/pip.log 2>&1 \
	  || { echo "error: packages could not be installed, see the end of $(VENV)/pip.log;" \
	            "is there a network and a free disk?" >&2; exit 1; }
	@touch $(STAMP)

STAGE_1 ?= experiments/stage1
EDITS := evaluation/synthetic_edit/5-5-5/edits
JOBS ?= $(shell $(PYTHON) -c 'import os; \
  print(min(3, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))')

demo: setup  ## from the shipped stage 1: reward, no reward, permuted rewards (20 minutes on 2 AVX512-BF16 cores)
	@$(RUN) -m src.train +experiment=reward_synthetic +sweep=demo start=$(STAGE_1) trainer.max_steps=500 \
	  data.dataset.length=4000 hydra.launcher.jobs=$(JOBS) hydra.sweep.dir=$(RUN_DIR)
	@$(RUN) -m src.evaluate edits=$(RUN_DIR)/1/$(EDITS) row="no reward" output=$(RUN_DIR)/0
	@$(RUN) -m src.evaluate edits=$(RUN_DIR)/2/$(EDITS) row="permuted rewards" output=$(RUN_DIR)/0
	@$(RUN) -m src.evaluate checkpoint=$(RUN_DIR)/0/editor targets=table6 sampler.steps=10 sampler.shift=3

DEMO_EDITOR = $(or $(lastword $(sort $(wildcard runs/demo/*/0/editor))),experiments/demo_editor)

app: setup  ## edit pictures in the browser, with the demo's editor or the shipped one (http://127.0.0.1:7860)
	@$(RUN) -m src.app checkpoint=$(DEMO_EDITOR) sampler.steps=10 sampler.shift=3 resize=64 judge=oracle

stage1: setup  ## the demo's stage 1, trained anew (an hour); make demo STAGE_1=runs/stage1/editor goes on
	@$(RUN) -m src.train +experiment=synthetic_stage1 hydra.run.dir=runs/stage1

SWEEP_DIR ?= runs/sweep-demo
SWEEP_DEMO := +experiment=reward_synthetic trainer.max_steps=60 data.dataset.length=640 \
  '~callbacks.previews' '~callbacks.scores' 'hydra.launcher.evaluate=["limit=56"]'

sweep-demo: setup  ## Tables 5 and 4 with hardly any training (5 minutes on 2 cores; continues when stopped)
	@$(RUN) -m src.train $(SWEEP_DEMO) +sweep=table5_integration hydra.sweep.dir=$(SWEEP_DIR)/table5_integration
	@$(RUN) -m src.train $(SWEEP_DEMO) +sweep=table4_reward_signal \
	  hydra.sweep.dir=$(SWEEP_DIR)/table4_reward_signal

test: setup  ## all fast tests (what CI runs)
	@$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: setup  ## the long checks
	@$(RUN) -m pytest -m slow

lint: setup
	@$(VENV)/bin/ruff check src tests experiments
	@$(VENV)/bin/ruff format --check src tests experiments

types: setup
	@$(VENV)/bin/pyright

check: setup  ## lint, types, tests
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory -j2 types test
