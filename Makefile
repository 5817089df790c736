# make demo: sets up, runs the main job on real photos, writes localmatch-demo/report/index.html
# make test: sets up and runs the tests, the linter and the type checker
# make nightly: the kernels on emulated CPUs, older x86 and aarch64 (Debian: qemu-user g++-aarch64-linux-gnu)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# hnswlib would compile for this very CPU, and pip keeps the result for others
export HNSWLIB_NO_NATIVE = 1

.PHONY: demo test nightly clean

demo: $(VENV)/.demo
	$(BIN)/localmatch demo -o localmatch-demo

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

nightly:
	bash tests/cpus/run.sh

$(VENV)/.demo $(VENV)/.dev: $(VENV)/.%: pyproject.toml setup.py constraints.txt $(shell find localmatch csrc -type f -not -name '*.so' -not -path '*__pycache__*')
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info localmatch-demo
