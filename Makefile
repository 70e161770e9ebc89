# `make demo` and `make test` do all their own set-up on a fresh Debian or Ubuntu; `make` lists the rest.

BIN = $(or $(CARGO_TARGET_DIR),target)/release/pitchfleet

.PHONY: help build demo test chart compose-check servers check bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the release executable
	@scripts/setup.sh build
	cargo build --release --locked

demo: build ## Analyse the sample photos with the demo models
	$(BIN) analyze samples --out out/demo --overlays all

test: ## Run every test
	@scripts/setup.sh test
	@scripts/test.sh

chart: ## Run the Helm chart's tests alone
	@helm/tests/run.sh

compose-check: ## Check deploy/ and docker-compose.yml alone, and run its services as processes
	@scripts/setup.sh test
	cargo build --locked --package cli
	@PITCHFLEET_TEST_PROGRAM="$$(realpath $(or $(CARGO_TARGET_DIR),target))/debug/pitchfleet" deploy/tests/run.sh

servers: ## Start RabbitMQ and an S3 server until Ctrl-C, and say how to use them
	@scripts/setup.sh test
	@scripts/servers.sh

check: ## Formatting, lints
	@scripts/setup.sh test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

bench: build ## Measure against the Python worker (minutes; results go to docs/benchmarks.md by hand)
	bench/run.sh

clean: ## Remove build outputs and demo results
	cargo clean
	rm -rf out
