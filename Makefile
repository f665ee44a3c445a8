# `make help` lists the targets. Every target sets up its own virtual environment first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEMO_SECONDS ?=
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench sim proto clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  \1\t/' | expand -t 12

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## Bring up the stack, ship a Go service, send it requests, keep serving until Ctrl-C
	@go version 2>/dev/null | grep -Eq 'go1\.(2[1-9]|[3-9][0-9])' || [ -x $(BIN)/go ] || $(BIN)/pip install --quiet --editable '.[go]'
	@DEMO_SECONDS=$(DEMO_SECONDS) $(BIN)/sampan demo

test: $(STAMP) ## Run the tests (ARGS="tests/wire -k watch" picks some)
	@$(BIN)/python -m pytest $(ARGS)

check: $(STAMP) ## Format, lint, types, import contracts, generated code, tidiness
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/protoc.py --check
	@$(BIN)/python -m pytest tests/test_tidy.py

format: $(STAMP) ## Rewrite the code in the project's format and apply safe lint fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

proto: $(STAMP) ## Generate the protobuf modules from the .proto files
	@$(BIN)/python scripts/protoc.py

bench: $(STAMP) ## Measure side by side with the real peers (ARGS="engine --rounds 5")
	@$(BIN)/python -m bench $(ARGS)

sim: $(STAMP) ## Run the slow forms: long kill -9, soak and fuzz runs
	@$(BIN)/python -m pytest -m slow $(ARGS)

clean: ## Remove the virtual environment and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
