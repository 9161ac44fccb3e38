# Everything a developer does here, by name; `make help` lists it. Needs make and Python 3.11 or newer with venv.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STUBS := clients/python
PROTOC := $(BIN)/python -m grpc_tools.protoc -Iproto -Iproto/third_party

# Where numba keeps compiled kernels; the engine gives each state of its sources a folder of its own in there.
export NUMBA_CACHE_DIR ?= $(CURDIR)/.cache/numba

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# One environment with the development tools for everything: what is run by hand is what was tested, and a newcomer who
# goes from `make run` to `make test` waits once.
.PHONY: setup
setup: $(VENV)/.installed ## Make .venv with the locked dependencies and RTE itself (editable); the others do it themselves

$(VENV)/.locked: requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "RTE needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements-dev.txt
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: run
run: setup ## Start the server, Envoy and a synthetic shop, and show live sessions (http://localhost:8080)
	$(BIN)/rte run $(ARGS)

.PHONY: test
test: setup ## Run the tests; ARGS="tests/engine -k fold" runs some of them
	$(BIN)/pytest $(ARGS)

.PHONY: test-long
test-long: setup ## Run the tests that take minutes: crashes, load, long random runs
	$(BIN)/pytest -m long --timeout 3600 $(ARGS)

.PHONY: e2e
e2e: setup ## Run only the tests against real processes: server, Envoy, command line
	$(BIN)/pytest tests/e2e $(ARGS)

.PHONY: bench
bench: setup ## Measure, and write docs/benchmarks.md
	$(BIN)/rte bench $(ARGS)

.PHONY: gen
gen: setup ## Generate stubs (Python, Go, TypeScript), Envoy's descriptor set, OpenAPI and the SOAP contract; build the browser tag
	find $(STUBS)/rte/v1 -name '*_pb2*' -delete
	rm -f envoy/rte.pb envoy/openapi.json envoy/api.html bridges/rte_soap/contract.binpb
	$(call generate,$(STUBS),envoy,bridges/rte_soap/contract.binpb)
	rm -rf .cache/gen && clients/go/generate.sh .cache/gen/go $(PROTOC)
	test ! -d .cache/gen/go || { rm -f clients/go/rte/v1/*.pb.go && cp .cache/gen/go/rte/v1/*.pb.go clients/go/rte/v1; }
	clients/typescript/generate.sh .cache/gen/es $(PROTOC)
	test ! -d .cache/gen/es || { rm -rf clients/typescript/src/gen && cp -R .cache/gen/es clients/typescript/src/gen; }
	clients/browser/build.sh envoy

# $(call generate,FOLDER,EDGE,CONTRACT): stubs of messages for all files, of calls for the services; what Envoy serves with.
define generate
$(PROTOC) --python_out=$(1) --pyi_out=$(1) proto/rte/v1/*.proto 2> >(grep -v 'error_details.proto is unused' >&2)
$(PROTOC) --grpc_python_out=$(1) --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc --mypy_grpc_out=quiet:$(1) \
  proto/rte/v1/*_service.proto 2> >(grep -v 'error_details.proto is unused' >&2)
$(BIN)/python -m rte_server.edge.descriptors --proto proto --include proto/third_party --out $(2)/rte.pb
mkdir -p .cache && $(PROTOC) -Ibridges/rte_soap --include_imports --include_source_info --descriptor_set_out=.cache/contract.pb \
  bridges/rte_soap/soap.proto proto/rte/v1/*.proto 2> >(grep -v 'error_details.proto is unused' >&2)
$(BIN)/python -m rte_soap.contract --in .cache/contract.pb --out $(3)
$(BIN)/python -m rte_server.edge.openapi --in .cache/contract.pb --out $(2)/openapi.json --page $(2)/api.html
endef

.PHONY: baseline
baseline: setup ## At a release: make proto/baseline.binpb the contract that later ones must be compatible with
	$(BIN)/buf build proto --exclude-source-info --output proto/baseline.binpb

.PHONY: lock
lock: ## Renew requirements.txt and requirements-dev.txt from pyproject.toml
	test -x .cache/lock/bin/uv || { $(PYTHON) -m venv .cache/lock && .cache/lock/bin/pip install --quiet uv; }
	for arguments in "requirements.txt" "requirements-dev.txt --group dev"; do \
	  .cache/lock/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --quiet --no-header \
	    --no-emit-index-url --no-annotate --output-file $$arguments >/dev/null; \
	done

.PHONY: format
format: setup ## Format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lint
lint: setup ## Check style, types, imports and the contract, without running anything
	$(BIN)/buf lint
	mkdir -p .cache && $(BIN)/buf build proto --output .cache/contract.binpb
	$(BIN)/buf breaking .cache/contract.binpb --config buf.yaml --against proto/baseline.binpb
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: gen-check
gen-check: setup ## Check that the generated files are what their sources generate
	rm -rf .cache/gen && mkdir -p .cache/gen
	$(call generate,.cache/gen,.cache/gen,.cache/gen/contract.binpb)
	diff --recursive --brief --exclude=__init__.py --exclude=__pycache__ .cache/gen/rte/v1 $(STUBS)/rte/v1
	for name in rte.pb openapi.json api.html; do cmp .cache/gen/$$name envoy/$$name; done
	cmp .cache/gen/contract.binpb bridges/rte_soap/contract.binpb
	clients/go/generate.sh .cache/gen/go $(PROTOC)
	test ! -d .cache/gen/go || diff --recursive --brief .cache/gen/go/rte/v1 clients/go/rte/v1
	clients/typescript/generate.sh .cache/gen/es $(PROTOC)
	test ! -d .cache/gen/es || diff --recursive --brief .cache/gen/es clients/typescript/src/gen
	cp envoy/envoy.yaml envoy/rte.js .cache/gen
	clients/browser/build.sh .cache/gen
	cmp .cache/gen/envoy.yaml envoy/envoy.yaml
	cmp .cache/gen/rte.js envoy/rte.js

# Debian's names. Those of npm and Maven the tests install themselves; what is missing is skipped, with its reason.
.PHONY: soap-clients
soap-clients: ## Install the SOAP clients that the tests call (Debian, as root)
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends g++ gsoap libgsoap-dev libsoap-lite-perl libwww-perl libxml-compile-perl \
	  libxml-libxml-perl php-cli php-soap >/dev/null

.PHONY: browser
browser: ## Install the browser that tests of pages run in (Debian, as root)
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends chromium >/dev/null

.PHONY: check
check: lint gen-check test ## All that CI does

.PHONY: clean
clean: ## Remove what the other targets made, .venv included
	rm -rf $(VENV) .cache clients/java/target .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
