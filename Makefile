# Thin on purpose: every target is an npm script of the same name, after what it needs is there.
# npm puts the Node that the lockfile pins (node_modules/.bin/node) before the machine's own.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup bake test test-full lint dev shell logs ci new-layer clean

# Each goes to the targets that know it; ARGS goes through as it is.
BASE  ?=
LAYER ?=
CLAIM ?=
NAME  ?=
ARGS  ?=

DEPS := node_modules/.package-lock.json

# Before npm: the Node and the tools that the lockfile pins exist for this platform only.
ifneq ($(shell uname -sm),Linux x86_64)
$(error clawdy-image bakes on Linux x86_64 only; this is $(shell uname -sm). Use a Debian 12, 13 or Ubuntu 24.04 machine)
endif

help: ## This list
	@echo 'make <target> [ARGS="--plan ..."]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# npm ci writes this file; it is older than the lockfile exactly when the lockfile has changed since.
$(DEPS): package-lock.json package.json
	npm ci --no-audit --no-fund --loglevel=error
	@touch $@

setup: $(DEPS) ## Install what this machine lacks (asks, unless root, CI or ARGS=--yes)
	@npm run -s setup -- $(ARGS)

# Set-up as a first step of other targets: their ARGS are not meant for it.
.PHONY: ready
ready: $(DEPS)
	@npm run -s setup

bake: ready ## Bake a golden image into dist/ (BASE=ubuntu-24.04, ubuntu-26.04, debian-13 or debian-12; ARGS=--force)
	@npm run -s bake -- $(if $(BASE),--base $(BASE)) $(ARGS)

test: ready ## Lint, then unit, container and VM tests of the newest image (CLAIM=id: that claim alone)
	@npm run -s test -- $(if $(CLAIM),--claim $(CLAIM)) $(ARGS)

test-full: ready ## Bake anew, whatever is there, and run all tests on that, e2e too (BASE and ARGS as for bake)
	@npm run -s bake -- --force $(if $(BASE),--base $(BASE)) $(ARGS)
	@npm run -s test -- --full

lint: $(DEPS) ## Types, TypeScript and shell style, manifests of the layers (ARGS=--fix)
	@npm run -s lint -- $(ARGS)

dev: ready ## Apply one layer as it is now to the newest tree, in a container, and run its claims: LAYER=03
	@npm run -s dev -- --layer $(or $(LAYER),$(error make dev LAYER=03)) $(ARGS)

shell: $(DEPS) ## A shell in an overlay of the disk that failed, else of the newest image
	@npm run -s shell -- $(ARGS)

logs: $(DEPS) ## The ends of the newest run's logs
	@npm run -s logs -- $(ARGS)

ci: ## What CI runs on a bare machine
	@.ci/run

new-layer: $(DEPS) ## The folder of a new layer: NAME=09-audit
	@npm run -s new-layer -- $(or $(NAME),$(error make new-layer NAME=09-audit)) $(ARGS)

clean: $(DEPS) ## Remove dist/ (ARGS=--cache: the cache too)
	@npm run -s clean -- $(ARGS)
