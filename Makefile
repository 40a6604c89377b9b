# Thin on purpose: every target is an npm script of the same name, after what it needs is there.
# npm puts the Node that the lockfile pins (node_modules/.bin/node) before the machine's own.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup bake test test-full lint dev shell logs ci new-layer clean

# Handed on to the command when set; ARGS goes through as it is.
# export would hide typos: only these are known.
BASE  ?=
LAYER ?=
CLAIM ?=
ARGS  ?=
OPTIONS = $(if $(BASE),--base $(BASE)) $(if $(LAYER),--layer $(LAYER)) $(if $(CLAIM),--claim $(CLAIM)) $(ARGS)

DEPS := node_modules/.package-lock.json

help: ## This list
	@echo 'make <target> [BASE=debian-13] [LAYER=03] [CLAIM=id] [ARGS="--force ..."]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# npm ci writes this file; it is older than the lockfile exactly when the lockfile has changed since.
$(DEPS): package-lock.json package.json
	npm ci --no-audit --no-fund
	@touch $@

setup: $(DEPS) ## Install what this machine lacks (asks, unless root, CI or ARGS=--yes)
	@npm run -s setup -- $(ARGS)

# Set-up as a first step of other targets: their ARGS are not meant for it.
.PHONY: ready
ready: $(DEPS)
	@npm run -s setup

bake: ready ## Bake a golden image into dist/
	@npm run -s bake -- $(OPTIONS)

test: ready ## Unit, container and VM tests of the newest image
	@npm run -s test -- $(OPTIONS)

test-full: ready ## All that test does, every base, every layer left out once
	@npm run -s test -- --full $(OPTIONS)

lint: $(DEPS) ## Types, TypeScript and shell style, manifests of the layers
	@npm run -s lint -- $(ARGS)

dev: ready ## Apply LAYER to the container tree, restart it, run that layer's claims
	@npm run -s dev -- $(OPTIONS)

shell: $(DEPS) ## A shell in the newest image, or in an overlay of the disk that failed
	@npm run -s shell -- $(OPTIONS)

logs: $(DEPS) ## The logs of the newest bake
	@npm run -s logs -- $(OPTIONS)

ci: ## What CI runs on a bare machine
	@.ci/run

new-layer: $(DEPS) ## A folder for a new layer: make new-layer ARGS="09 name"
	@npm run -s new-layer -- $(ARGS)

clean: $(DEPS) ## Remove dist/ (ARGS=--cache: the cache too)
	@npm run -s clean -- $(ARGS)
