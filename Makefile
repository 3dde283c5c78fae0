# pgbaton: building, installing, and the lab (a real Pacemaker cluster on this machine, needs root).
#
#   make build            the release binary
#   make install          into $(DESTDIR)
#   make test             all tests, the cluster's included (root, Debian): within an hour on two cores
#   make test-long        the same with the long scenarios, and random faults on two, three and five nodes: three hours
#   make lint             formatting and lints; licences and advisories where cargo-deny is installed; a build with the oldest
#                         Rust that is supported where rustup has it
#   make demo             a switchover and a failover of a real cluster under a writing client
#   make lab              the same cluster, left up to play with
#   make lab-scenarios    every scenario of tests/lab (SHORT=1: without the long ones)
#   make lab-faults       20 random faults of a fixed seed: a short campaign
#   make campaign         random faults with clients and a checker: SEED, FAULTS or MINUTES, AGENT, PROFILE, NODES
#   make bench            this agent beside two others, in the same cluster (half an hour)
#   make lab-down         removes every trace of the lab, except the cached root image

PREFIX ?= /usr
DESTDIR ?=
CARGO ?= cargo
# The oldest Rust that builds it; Cargo.toml says the same to clippy, whose lint incompatible_msrv knows the standard library's parts.
MSRV = 1.85
INSTALL ?= install

# Pacemaker looks for agents here, wherever pgbaton itself goes.
OCF_DIR = /usr/lib/ocf/resource.d/pgbaton
TARGET = target
LAB = $(TARGET)/release/lab
STAGE = $(TARGET)/lab/install
# Options of `lab up`: --nodes a,b,c  --example NAME  --agent AGENT
LAB_OPTIONS ?=

.PHONY: build install lab-deps lab-build lab-check lab-stage lab lab-down demo lab-scenarios bench

build: has-cargo
	$(CARGO) build --release --locked --bin pgbaton

install:
	@test -f $(TARGET)/release/pgbaton || { echo "make install: $(TARGET)/release/pgbaton is missing: run 'make build' first" >&2; exit 1; }
	$(INSTALL) -D -m 0755 $(TARGET)/release/pgbaton $(DESTDIR)$(PREFIX)/sbin/pgbaton
	$(INSTALL) -D -m 0755 ocf/postgresql $(DESTDIR)$(OCF_DIR)/postgresql
	sed -i 's#/usr/sbin/pgbaton#$(PREFIX)/sbin/pgbaton#' $(DESTDIR)$(OCF_DIR)/postgresql

# Programs that the lab needs on the machine itself. None of them brings a service.
lab-deps: lab-check
	@if ! command -v mmdebstrap >/dev/null || ! command -v ip >/dev/null; then \
		apt-get update && DEBIAN_FRONTEND=noninteractive \
		apt-get install --yes --no-install-recommends mmdebstrap iproute2 debian-archive-keyring; \
	fi

lab-build: has-cargo
	$(CARGO) build --release --locked --package pgbaton-lab

# What the nodes get: the tree that a package would install.
lab-stage: build
	@rm -rf $(STAGE)
	@$(MAKE) --no-print-directory install DESTDIR=$(STAGE) PREFIX=/usr

.PHONY: test test-long lint
test: SHORT = 1
test: test-agent lab-scenarios lab-faults

test-long: test-agent lab-scenarios lab-faults
	@for nodes in 2 3 5; do $(MAKE) --no-print-directory campaign AGENT=pgbaton PROFILE=drawn NODES=$$nodes SEED=4$$nodes FAULTS=40 MINUTES= || exit 1; done

lint: has-cargo
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@if $(CARGO) +$(MSRV) --version >/dev/null 2>&1; then $(CARGO) +$(MSRV) check --workspace --all-targets --locked; fi
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check licenses bans sources; fi

lab: lab-deps lab-build lab-stage
	$(LAB) up --install $(STAGE) $(LAB_OPTIONS)

lab-down: lab-build
	$(LAB) down

# Nothing stays up afterwards, whatever the end was.
demo: lab-deps lab-build lab-stage
	@status=0; $(LAB) demo --install $(STAGE) $(LAB_OPTIONS) || status=$$?; $(LAB) down; exit $$status

bench: lab-deps lab-build lab-stage
	$(LAB) bench --install $(STAGE)

# Random faults: FAULTS=20 or MINUTES=60; SEED repeats a run, and without one it is drawn and printed first.
# AGENT=pgbaton, pgsqlms or pgsql. What the cluster is like: PROFILE=drawn (by the seed), plain, or choices like
# slots=yes,rejoin=clone; NODES=2, 3 or 5 and SYNCHRONOUS=1 override it. WITHOUT=load,slips,sequences makes rounds easier.
# Ends with an error when something is found.
AGENT ?= pgbaton
PROFILE ?= drawn
CAMPAIGN_OPTIONS = --agent $(AGENT) --profile $(PROFILE) $(if $(NODES),--nodes $(NODES)) $(if $(SEED),--seed $(SEED)) \
	$(if $(FAULTS),--faults $(FAULTS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SYNCHRONOUS),--synchronous) \
	$(if $(WITHOUT),--without $(WITHOUT))

.PHONY: campaign
campaign: lab-deps lab-build lab-stage
	@status=0; $(LAB) campaign --install $(STAGE) $(CAMPAIGN_OPTIONS) || status=$$?; $(LAB) down; exit $$status

# SCENARIOS="cold_start ..." runs these only; `$(LAB) scenario --list` names them.
lab-scenarios: lab-deps lab-build lab-stage
	@status=0; $(LAB) scenario --install $(STAGE) $(if $(SHORT),--short) $(LAB_OPTIONS) $(SCENARIOS) || status=$$?; $(LAB) down; exit $$status

# A short campaign of a seed that draws nearly every kind of fault. Results and evidence: target/lab/campaign/pgbaton-12
.PHONY: lab-faults
lab-faults:
	@$(MAKE) --no-print-directory campaign AGENT=pgbaton PROFILE=plain NODES= SEED=12 FAULTS=20 MINUTES= SYNCHRONOUS= WITHOUT=load,slips,sequences

.PHONY: has-cargo
has-cargo:
	@command -v $(CARGO) >/dev/null || { echo "make: cargo is missing: install a Rust toolchain (1.85 or newer)" >&2; exit 1; }

lab-check:
	@test "$$(id -u)" = 0 || { echo "make: the lab makes namespaces and mounts: run it as root" >&2; exit 1; }
	@command -v apt-get >/dev/null || { echo "make: apt-get is missing: the lab needs Debian" >&2; exit 1; }
	@grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || { echo "make: this kernel has no overlayfs (modprobe overlay failed)" >&2; exit 1; }
	@grep -qw cgroup2 /proc/mounts || { echo "make: no cgroup2 file system is mounted: mount one with 'mount -t cgroup2 none DIR'" >&2; exit 1; }

# The agent's own tests, most of them against a real PostgreSQL, in the lab's throw-away system.
.PHONY: test-agent
test-agent: lab-deps lab-build
	$(CARGO) test --locked --package pgbaton-lab
	$(CARGO) test --locked --no-fail-fast --config 'target."cfg(unix)".runner=["$(CURDIR)/$(LAB)","sandbox","--"]'
