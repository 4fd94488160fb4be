# The index: every target is one command a person could type. Longer logic lives in integration/.
#
#   make demo    a real image under hostrun, on a bare Debian machine
#   make test    everything, as CI runs it

TARGET     := x86_64-unknown-linux-musl
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
HOSTRUN    := $(TARGET_DIR)/$(TARGET)/release/hostrun
SHIM       := $(TARGET_DIR)/$(TARGET)/release/containerd-shim-hostrun-v1
# always of the whole workspace: a part of it asks for other features of the same dependencies, and
# they would be built once more for each part
# told: a failure ends with the tests that failed, right above the line make says it in
CARGO_TEST := integration/told cargo test --locked --workspace --target $(TARGET) --no-fail-fast
DESTDIR    ?=
PREFIX     ?= /usr/local
# which container runtime the root tests drive: a path, or the word runc
RUNTIME    ?= $(HOSTRUN)

names        = $(basename $(notdir $(subst /main.rs,,$(wildcard $(1)))))
tests        = $(addprefix --test ,$(1))
UNIT_TESTS   = $(call tests,$(call names,image-store/tests/*.rs seccomp-profiles/tests/*.rs cli/units/tests/*.rs image-store/remote/tests/*.rs))
CLIENTS      = $(call tests,$(call names,integration/tests/clients_*.rs))
# these run in the virtual machine
IN_VM       := limits changes scopes machine selinux shim_limits cri_limits cri_limits_sid
VM_TESTS     = $(call tests,$(IN_VM))
ROOT         = $(filter-out $(IN_VM) clients_%,$(call names,integration/tests/*.rs integration/tests/*/main.rs))
ROOT_TESTS   = $(call tests,$(ROOT))
# runc knows no images, nor hostrun's own options and documents; evil is about hostrun
ORACLE_TESTS = $(call tests,$(filter-out shim_% conformance detached doctor evil flags health images library power_cut profile registry registry_faults readme schema store store_steps,$(ROOT)))

# what the host is put through, each in boots of its own, the longest first; a machine takes one processor
HOSTS       := $(addprefix host-,update test first cut confined)
HOST_LANES  ?= 2

# what tests of the shim start
export HOSTRUN_SHIM := $(SHIM)
# cargo hands every test binary of the root suite to this script, which gives it mounts of its own
ROOT_TARGETS := test-root test-clients oracle test-long evil bench bench-quick bench-images bench-pulls bench-shim
$(ROOT_TARGETS): export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUNNER = $(CURDIR)/integration/private-mounts

.PHONY: help setup build examples demo check check-format check-lints check-licences unit test test-root test-clients sid oracle \
	test-vm vm-limits vm-labels vm-checkpoint test-host $(HOSTS) host-kernels test-long evil corpus fuzz fuzz-seeds room install peers bench bench-quick bench-images bench-pulls bench-shim clean

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup: ## install what is missing (apt packages, Rust toolchain); nothing when all is there
	@integration/setup

build: ## the static release binaries: hostrun, the one that talks to registries, and containerd's shim
	cargo build --locked --release --target $(TARGET) -p hostrun -p hostrun-remote -p hostrun-shim -p hostrun-units

examples: ## the programs that show how the library is used
	cargo build --locked --workspace --target $(TARGET) --examples

demo: ## build an image, load it, run it, look around inside
	@integration/setup
	@$(MAKE) --no-print-directory build
	integration/demo/demo $(HOSTRUN)

check: check-format check-lints check-licences ## format, lints, licences

check-format:
	cargo fmt --all --check
	cd fuzz && cargo fmt --check

check-lints:
	cargo clippy --locked --workspace --all-targets --features hostrun/pages --target $(TARGET) -- -D warnings
	cargo clippy --locked --workspace $(VM_TESTS) $(CLIENTS) --target $(TARGET) -- -D warnings

check-licences:
	@integration/deny

unit: examples ## tests that need neither root nor a runtime
	$(CARGO_TEST) --lib --bins $(UNIT_TESTS)
	$(CARGO_TEST) --doc

test: ## setup, check, and every test; ends with the counts
	@integration/test-all

test-root: build examples ## root tests on hostrun (RUNTIME=path for another)
	HOSTRUN_TEST_RUNTIME=$(RUNTIME) HOSTRUN_BINARY=$(HOSTRUN) $(CARGO_TEST) $(ROOT_TESTS)

sid: ## containerd 2.x of Debian sid in .cache/sid, for test-clients; says why when it cannot be had
	@integration/sid

test-clients: build sid ## podman, Docker and containerd with hostrun and the shim below them, each case on runc first
	HOSTRUN_TEST_RUNTIME=$(RUNTIME) HOSTRUN_BINARY=$(HOSTRUN) $(CARGO_TEST) $(CLIENTS)

oracle: ## the same tests on Debian's runc: if it fails, the test is wrong
	HOSTRUN_TEST_RUNTIME=runc $(CARGO_TEST) $(ORACLE_TESTS)

test-vm: vm-limits vm-labels vm-checkpoint ## limits, scopes, labels and checkpoints, in virtual machines with every controller: runc and crun first

vm-limits vm-labels vm-checkpoint: vm-%: build
	integration/told integration/vm/$* $(HOSTRUN)

test-host: build ## a host of Debian's packages with hostrun in /usr, booted: a line for each proof (host-test: limits, systemd, read-only root)
	integration/vm/kernel >/dev/null && integration/host/image $(HOSTRUN) >/dev/null
	@$(MAKE) --no-print-directory --jobs=$(HOST_LANES) --output-sync=target $(HOSTS)

host-kernels: ## the tests of the runtime on Linux 6.1 and on the newest kernel of Debian's
$(HOSTS) host-kernels: host-%: build
	integration/told integration/host/$* $(HOSTRUN)

test-long: build ## 10,000 runs of a payload that exits at once, as many in one shim, 10,000 of every race, and a kill at every step
	HOSTRUN_BINARY=$(HOSTRUN) HOSTRUN_TEST_RUNTIME=$(RUNTIME) HOSTRUN_TEST_CHURN=10000 $(CARGO_TEST) --test churn --test shim_churn --test kill_steps --test race --test store_steps --test power_cut --test crowd

evil: build ## the corpus of attacks under every runtime installed: who resists what
	HOSTRUN_BINARY=$(HOSTRUN) HOSTRUN_TEST_RUNTIME=$(HOSTRUN) HOSTRUN_TEST_EVIL=1 $(CARGO_TEST) --test evil -- --nocapture

corpus: ## images that must be refused, and who refuses them
	@integration/corpus

SECONDS ?= 60
fuzz: ## every fuzzer for SECONDS=60 each
	integration/fuzz $(SECONDS)

fuzz-seeds: ## the seeds of every fuzzer, once, as an ordinary test
	# not --locked: the crates beside it may have got a dependency, which is no failure of theirs
	cd fuzz && ../integration/told cargo test --target $(TARGET) --target-dir $(TARGET_DIR)

room: ## nothing of the allocator or the panic machinery in the code that runs after clone
	integration/room

install: build ## DESTDIR= PREFIX=: binaries, man pages, completions
	cargo build --locked --target $(TARGET) -p hostrun --features pages
	DESTDIR=$(DESTDIR) PREFIX=$(PREFIX) integration/install $(HOSTRUN) $(TARGET_DIR)/$(TARGET)/debug/hostrun

PEERS ?= .cache/peers
peers: ## the newest runc and crun, to be measured against (WITH=youki for that, too: slow)
	benches/peers $(PEERS) $(WITH)

# BENCH= more options: benches --help
BENCH_WORDS = --peers $(PEERS) --library $(TARGET_DIR)/$(TARGET)/release/examples/serve --out $(TARGET_DIR)/bench $(BENCH)
bench: build bench-library ## interleaved comparisons with other runtimes and the kernel's floor, then bench-shim
	HOSTRUN_BINARY=$(HOSTRUN) cargo run --locked --target $(TARGET) -p hostrun-benches -- $(BENCH_WORDS)
	@$(MAKE) --no-print-directory bench-shim BENCH=

bench-quick: build bench-library ## the same in two minutes
	HOSTRUN_BINARY=$(HOSTRUN) cargo run --locked --target $(TARGET) -p hostrun-benches -- --quick $(BENCH_WORDS)

bench-images: build ## loads of images beside umoci, podman, containerd and the floor of inflate and hashes
	cargo build --locked --release --target $(TARGET) -p hostrun-image-store --example floor
	HOSTRUN_BINARY=$(HOSTRUN) cargo run --locked --target $(TARGET) -p hostrun-benches -- images \
		--floor $(TARGET_DIR)/$(TARGET)/release/examples/floor --peers $(PEERS) --out $(TARGET_DIR)/bench $(BENCH)

bench-pulls: build ## from a registry to a running program, beside containerd
	HOSTRUN_BINARY=$(HOSTRUN) cargo run --locked --target $(TARGET) -p hostrun-benches -- pulls

bench-shim: build sid ## containerd's runs and the memory of its shim: ours, and its own with runc and crun
	HOSTRUN_BINARY=$(HOSTRUN) cargo run --locked --target $(TARGET) -p hostrun-benches -- shims \
		--peers $(PEERS) --out $(TARGET_DIR)/bench $(BENCH)

.PHONY: bench-library
bench-library:
	cargo build --locked --release --target $(TARGET) -p hostrun-runtime --example serve

clean: ## what make built and fetched
	cargo clean
	rm -rf .cache fuzz/target fuzz/corpus
