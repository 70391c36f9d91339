# The whole project from a clone: `make demo` and `make test`. Neither needs root, a GPU or a key.
PYTHON     ?= python3
# Which torch to install, as pip would be told; pip's own settings decide from where (see README, "Which torch").
TORCH_SPEC ?= torch==2.13.0
# A video, picture or sound of yours: make demo CLIP=holiday.mp4
CLIP       ?=
PYTEST_ARGS ?=

VENV := .venv
BIN  := $(VENV)/bin
# The stamp names the torch that was asked for, so that another TORCH_SPEC installs again and the same one does nothing.
STAMP := $(VENV)/.ready-$(shell printf '%s' '$(TORCH_SPEC)' | cksum | cut -d' ' -f1)
PIP := $(BIN)/python -m pip --disable-pip-version-check

# An environment beside it for lmms-eval, whose pins contradict ours: it sees all of .venv and changes nothing there.
LMMS := .venv-lmms

.PHONY: help demo test test-all test-lmms lint bench studies systems zoo tiny package package-check clean venv
.DEFAULT_GOAL := help

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 16

venv: $(STAMP) ## a local .venv with the tested set of packages

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) || \
	  { echo "error: $(PYTHON) cannot make a virtual environment; install its venv module" >&2; exit 1; }
	@rm -f $(VENV)/.ready-*
	@grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt
	@echo "installing $(TORCH_SPEC)"
	$(PIP) install -qq $(TORCH_SPEC) -c $(VENV)/constraints.txt
# What was installed is pinned with its local version, so that no later step can exchange a CPU build for another.
	@$(PIP) list --format=freeze | grep '^torch==' >> $(VENV)/constraints.txt
	@echo "installing reelm and its tools"
	$(PIP) install -qq --editable '.[dev]' -c $(VENV)/constraints.txt
	@touch $(STAMP)

demo: $(STAMP) ## fetch reelm-tiny once, then answer questions about a clip (CLIP=path for yours)
	@$(BIN)/reelm model pull reelm-tiny
	@$(BIN)/reelm demo $(if $(CLIP),'$(CLIP)')

test: $(STAMP) ## the fast tests
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-all: $(STAMP) ## every test, the slow ones too
	$(BIN)/python -m pytest $(PYTEST_ARGS)

$(LMMS)/.ready: $(STAMP) tests/eval/lmms.txt
	$(BIN)/python -m venv --clear $(LMMS)
	@echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
	  > "$$($(LMMS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
	$(LMMS)/bin/python -m pip --disable-pip-version-check install -qq --no-deps -r tests/eval/lmms.txt
	@touch $@

test-lmms: $(LMMS)/.ready ## fifty items through lmms-eval and through reelm eval: equal answers and figures
	$(BIN)/python -m pytest -m slow tests/eval/test_lmms.py $(PYTEST_ARGS)

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP) ## speed and memory on this machine, as ratios
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

studies: $(STAMP) ## every controlled comparison: tables and plots in runs/studies (hours; goes on where it was stopped)
	$(BIN)/reelm study all --out runs/studies

systems: $(STAMP) ## run the tests that show something of a system; write down which passed, and docs/systems.md
	$(BIN)/python -m pytest -m system --record-systems src/reelm/systems/shown.json $(PYTEST_ARGS)
	$(BIN)/reelm systems --markdown > docs/systems.md

zoo: $(STAMP) ## every kind of media file: what opens, what does not, and how many pictures come wrong
	PYTHONPATH=tests $(BIN)/python -m media.zoo

tiny: $(STAMP) ## train reelm-tiny from nothing (hours; goes on where it was stopped)
	$(BIN)/python -m reelm.train.tiny --out runs/reelm-tiny

package: $(STAMP) ## wheel and source archive in dist/
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist

package-check: package ## install both into empty environments and ask from another folder
	$(BIN)/python -m pytest -m slow tests/house/test_package.py $(PYTEST_ARGS)

clean: ## remove what make made here (not the cached base model)
	rm -rf $(VENV) $(LMMS) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
