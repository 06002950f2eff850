# `make` prints this list. Each target is a script, so that nobody needs make.
.PHONY: help run check test bench format generate lock

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

run: ## install what is missing, build the images, start Fanlight with a sample fleet
	@scripts/run

check: ## format, lint, types, imports, unit and contract tests (under 2 minutes)
	@scripts/check

test: ## everything: real Incus, real browser, real PostgreSQL
	@scripts/test

bench: ## the benchmark table
	@scripts/bench

format: ## format the code and mend what ruff can mend
	@venv=$$(scripts/python-setup --dev) && $$venv/bin/ruff format . && $$venv/bin/ruff check --fix .

generate: ## regenerate wire types, the coverage page and the configuration table
	@venv=$$(scripts/python-setup --dev) && for tool in tools/generate_*.py; do $$venv/bin/python $$tool; done

lock: ## pin the dependencies anew, with hashes
	@scripts/lock
