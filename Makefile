# What a newcomer and a build machine run. `make` alone lists it.

.DEFAULT_GOAL := help
.PHONY: help run build install-postgres clients check test oracle bench fuzz require-cargo require-node require-python

MAJORS ?= 15 18
ORACLE_MAJORS ?= 14 15 16 17 18
FUZZ_SECONDS ?= 60

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile
	@echo "  make postgres-18        Unpack PostgreSQL 18 (or 14 to 17) into .rowcast, for tests; needs python3"

run: install-postgres build ## Try it: a private Postgres, a demo, keys and a first client
	target/release/rowcast dev

build: require-cargo ## Build the program: target/release/rowcast
	cargo build --release --locked

install-postgres: ## Install PostgreSQL, if there is none and this is root on Debian or Ubuntu
	@sh .ci/install-postgres

check: require-cargo ## Format, lints and documentation, with warnings as errors
	cargo fmt --check
	cargo clippy --all-targets --all-features --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

test: require-cargo require-node require-python install-postgres $(MAJORS:%=test-postgres-%) clients ## All tests; needs Node 20 and python3
	ROWCAST_TEST_MAJORS=$$(echo $(MAJORS) | tr ' ' ,) cargo test --all-features --locked --no-fail-fast

oracle: require-cargo $(ORACLE_MAJORS:%=test-postgres-%) ## Compare 5,000,000 decisions of generated policies with Postgres 14 to 18
	ROWCAST_TEST_MAJORS=$$(echo $(ORACLE_MAJORS) | tr ' ' ,) cargo test --release --features postgres-tests --locked \
		--test postgres -- --ignored --nocapture policy_oracle::long

bench: require-cargo ## Measure
	cargo bench --locked

fuzz: require-cargo ## Fuzz each parser for FUZZ_SECONDS (60); needs cargo-fuzz
	@cargo fuzz --version >/dev/null 2>&1 || { echo "make: install cargo-fuzz: cargo install cargo-fuzz" >&2; exit 1; }
	@cargo run --quiet --manifest-path tests/fuzz/Cargo.toml --example seed
	@targets=$$(cargo fuzz list --fuzz-dir tests/fuzz) && for target in $$targets; do \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

clients: require-node require-python
	@sh tests/tools/fetch-clients.sh

postgres-%:
	@sh tests/tools/fetch-postgres.sh $*

# The system's own, where it is that version.
test-postgres-%:
	@test -x /usr/lib/postgresql/$*/bin/initdb || sh tests/tools/fetch-postgres.sh $*

require-cargo:
	@command -v cargo >/dev/null || { \
		echo "make: Rust is missing; https://rustup.rs has the one line that installs it" >&2; exit 1; }

require-node:
	@command -v node >/dev/null && node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' || { \
		echo "make: the tests with real clients need Node 20 or newer; https://nodejs.org has it" >&2; exit 1; }

require-python:
	@command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 || { \
		echo "make: the tests need python3 with pip (Debian, Ubuntu: apt-get install python3-pip)" >&2; exit 1; }
