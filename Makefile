# Every target first installs what it needs and this machine lacks (scripts/setup).

# cargo finds cargo-deny and cargo-machete by the PATH.
export PATH := $(CURDIR)/.tools/bin:$(PATH)

.DEFAULT_GOAL := help
FUZZ_SECONDS ?= 60

.PHONY: help demo test safety model interleavings simulate mutants fuzz lint validate bench build release fmt advisories clean

FAULTS ?= 200
SEEDS ?= 1..10000
OVER ?= redis
SEED ?= $(shell date +%s)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Cargo compiles while Envoy and Flask are downloaded.
demo: export DEMO_STORE := $(or $(DEMO_STORE),sqlite)
demo: ## Envoy, Revoxy and a Flask application: log in, log out, be refused (DEMO_STORE=redis, DEMO_EXIT=1)
	@scripts/setup build
	@scripts/setup $(if $(filter redis,$(DEMO_STORE)),demo-redis,demo) & setup=$$!; \
		cargo build --locked --profile demo --no-default-features --features $(DEMO_STORE); built=$$?; \
		wait $$setup && exit $$built
	@exec .venv/bin/python examples/demo.py

# Integration tests mostly wait for servers: two at a time for each processor.
test: export RUST_TEST_THREADS ?= $(shell expr 2 \* $$(nproc))
test: ## unit, integration and documentation tests, against a real Envoy, Redis and PostgreSQL
	@scripts/setup test
	cargo test --locked

safety: ## the promise about staleness against FAULTS=200 faults drawn from SEED (printed; the time of day unless given)
	@scripts/setup test
	REVOXY_SAFETY_SEED=$(SEED) REVOXY_SAFETY_FAULTS=$(FAULTS) cargo test --locked --test it safety:: -- --nocapture --test-threads 1

model: ## every interleaving of a few statements, servers, replicas and faults, under the rules of versions
	@scripts/setup build
	cd verification/model && cargo test --release --locked

interleavings: ## the view under loom (every order of its atomics) and shuttle (more threads)
	@scripts/setup build
	cd verification/interleavings && RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom \
		cargo test --release --locked --test loom
	cd verification/interleavings && RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=target/shuttle SHUTTLE_SILENCE_WARNINGS=1 \
		cargo test --release --locked --test shuttle

simulate: ## the real feed over a simulated network and a model of Redis: SEEDS=1..10000 OVER=redis, sentinel or cluster
	@scripts/setup simulation
	cd verification/simulation && cargo test --release --locked
	cd verification/simulation && cargo run --release --locked --quiet -- run --seeds $(SEEDS) --over $(OVER)

mutants: ## changes to the decision, the view, the checker and the joining of statements that no unit test notices; hours
	@scripts/setup mutants
	CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$(CURDIR)/target/mutants cargo mutants --no-shuffle

fuzz: ## the token verifier and a whole check under libFuzzer, FUZZ_SECONDS=60 each
	@scripts/setup fuzz
	cd fuzz && python3 seeds.py
	cd fuzz && cargo build --release --locked
	cd fuzz && for target in token check_request; do \
		cargo run --quiet --release --locked --bin $$target -- corpus/$$target -artifact_prefix=artifacts/$$target/ \
			-max_total_time=$(FUZZ_SECONDS) -max_len=20000 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 || exit 1; \
	done

lint: ## formatting, clippy, rustdoc, licences, banned and unused dependencies
	@scripts/setup lint
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	for store in redis postgres sqlite; do cargo clippy --no-default-features --features $$store --locked -- -D warnings || exit 1; done
	for crate in model simulation interleavings; do (cd verification/$$crate && cargo fmt --check) || exit 1; done
	cd verification/interleavings && RUSTFLAGS="--cfg loom -Dwarnings" CARGO_TARGET_DIR=target/loom cargo check --release --locked --tests
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --document-private-items --locked
	cargo deny check bans licenses sources
	cargo machete

validate: ## envoy.yaml, the Kubernetes manifests and their revoxy.yaml, the Dockerfile, the scripts
	@scripts/setup validate
	cargo build --locked
	@scripts/validate

bench: ## the benchmarks, some minutes; the machine should have nothing else to do
	@scripts/setup bench
	cargo bench --locked

build: ## debug build
	@scripts/setup build
	cargo build --locked

release: ## optimised build: target/release/revoxy
	@scripts/setup build
	cargo build --release --locked

fmt: ## format the code
	cargo fmt
	for crate in model simulation interleavings; do (cd verification/$$crate && cargo fmt) || exit 1; done

advisories: ## known vulnerabilities among the dependencies; needs a network that reaches GitHub
	@scripts/setup lint
	cargo deny check advisories

clean: ## remove what was built and what the demo left behind; .venv, .tools and node_modules stay
	cargo clean
	rm -rf fuzz/target fuzz/corpus fuzz/artifacts verification/*/target
	rm -rf .demo
