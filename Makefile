.DEFAULT_GOAL := help
.PHONY: help install demo superresolve dataset train evaluate burst qgis format lint types imports test test-qgis dist docs fuzz kills bench bench-native bench-check bench-burst check clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SCALE ?= 2
MODEL ?= span
PHOTOS ?= process/
DATA ?= out
RUNS ?= runs
# Of a folder's name, so that results come to lie beside it.
SCENES_DIR = $(patsubst %/,%,$(SCENES))
# More options for the command, as ARGS="--bands 4,3,2".
ARGS ?=
# compat: a path, which is found from the folder that holds this one too.
EDITABLE := --config-settings editable_mode=compat --editable

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed ## install geosr into $(VENV)

demo: install ## super-resolve the Landsat scene in data/ with the shipped network
	@mkdir -p $(or $(OUT),demo)
	$(BIN)/geosr superresolve data/landsat8_great_salt_lake.tif $(or $(OUT),demo)/landsat8_great_salt_lake_x2.tif --overwrite
	@echo "The result is $(or $(OUT),demo)/landsat8_great_salt_lake_x2.tif: the same ground with half the pixel size."

superresolve: install scenes ## super-resolve the folder SCENES=dir into OUT=dir (SCALE=2 MODEL=span); goes on where it stopped
	$(BIN)/geosr superresolve $(SCENES) $(or $(OUT),$(SCENES_DIR)_x$(SCALE)) --scale $(SCALE) --model $(MODEL) $(ARGS)

dataset: install scenes ## cut the scenes in SCENES=dir into a training set in OUT=out (SCALE=2)
	$(BIN)/geosr dataset $(SCENES) $(or $(OUT),out) --scale $(SCALE) $(ARGS)

train: install ## train MODEL=span on the set in DATA=out, results in RUNS=runs (SCALE=2); goes on after its last epoch
	$(BIN)/geosr train $(DATA) $(RUNS) --scale $(SCALE) --model $(MODEL) $(ARGS)

evaluate: install scenes ## score MODEL=span on the scenes in SCENES=dir (SCALE=2)
	$(BIN)/geosr evaluate $(MODEL) $(SCENES) --scale $(SCALE) $(ARGS)

burst: install ## stack the photos in PHOTOS=process/ into OUT=superresolution/; goes on where it stopped
	$(BIN)/geosr burst $(PHOTOS) $(or $(OUT),superresolution/) $(ARGS)

qgis: install ## put the plugin into the QGIS profiles that are found
	$(BIN)/geosr qgis install $(ARGS)

.PHONY: scenes
scenes:
	@test -d "$(SCENES)" || { echo "name the folder of the scenes, as SCENES=dir (got '$(SCENES)')" >&2; exit 2; }

format: $(VENV)/.dev ## rewrite the code in its one style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.dev ## look for mistakes and misspelt words
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell

types: $(VENV)/.dev ## check the types
	$(BIN)/mypy

imports: $(VENV)/.dev ## check that imports run one way
	$(BIN)/lint-imports

test: $(VENV)/.dev ## install what the tests need and run them, the fast ones first
	$(BIN)/python -m pytest

test-qgis: $(VENV)/.dev ## run the tests in the real QGIS alone, which is installed where root and apt are there
	@if ! command -v qgis_process >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -q && apt-get install -qy --no-install-recommends qgis xvfb xauth; fi
	$(BIN)/python -m pytest -m qgis tests

docs: $(VENV)/.dev ## build the documentation as a site in build/site/, with every link checked
	$(BIN)/python -m mkdocs build --strict

dist: $(VENV)/.dev ## build sdist and wheel in dist/, install the wheel in an empty environment and try it
	rm -rf build dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python tests/wheel.py dist/*.whl $(ARGS)

fuzz: $(VENV)/.dev ## give damaged rasters, VRTs, cards, records, manifests and networks to the commands (ARGS="--minutes 10")
	$(BIN)/python -m tests.fuzz $(ARGS)

kills: $(VENV)/.dev ## kill commands at their calls to the file system, and have them finish (needs strace; ten minutes)
	$(BIN)/python -m tests.kills $(ARGS)

bench: $(VENV)/.dev ## measure what the command costs beside what it could, as ratios (ARGS="--only halos"; an hour)
	$(BIN)/python bench/superresolve.py $(ARGS)

bench-native: $(VENV)/.dev ## measure networks at native pixels (DATA=folder of native/ and val/; five minutes)
	$(BIN)/python bench/native.py $(DATA) $(ARGS)

bench-check: $(VENV)/.dev ## measure again, and fail if a ratio is a tenth worse than in bench/results.json
	$(BIN)/python bench/superresolve.py --check $(ARGS)

bench-burst: $(VENV)/.dev ## compare bursts with the older script (needs hugin-tools and libvips-tools; half an hour)
	$(BIN)/python bench/burst.py

check: lint types imports test ## everything above that can fail

clean: ## remove what was installed and made here
	rm -rf $(VENV) demo fuzz kills build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# Debian keeps venv in a package of its own.
$(BIN)/python:
	@$(PYTHON) -m venv $(VENV) || { \
		rm -rf $(VENV); \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && apt-get install -qy python3-venv && $(PYTHON) -m venv $(VENV); \
		else \
			echo "Python's venv is missing; install it and try again: sudo apt-get install python3-venv" >&2; exit 1; \
		fi; }

$(VENV)/.installed: $(BIN)/python setup.cfg pyproject.toml
	@echo "Installing into $(VENV): TensorFlow is large, this takes a few minutes."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(EDITABLE) .
	@touch $@

$(VENV)/.dev: $(BIN)/python setup.cfg pyproject.toml
	@echo "Installing into $(VENV): TensorFlow is large, this takes a few minutes."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(EDITABLE) '.[dev]'
	@touch $@ $(VENV)/.installed
