# Names for the commands that a change needs; each calls a script, which explains itself (tests/run --help).

.DEFAULT_GOAL := help
.PHONY: help check test unit architecture live sim python clients autobahn fuzz mutations bench golden ci

# Options of tests/run: `make test ARGS=--install`.
ARGS ?=

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /    make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

check: ## format, clippy, documentation
	tests/run check $(ARGS)

test: ## every test; ARGS=--install installs what they need
	tests/run $(ARGS)

unit: ## the tests in src/, the examples, the documentation's examples
	tests/run unit $(ARGS)

architecture: ## the laws of ARCHITECTURE.md, the table of tests/SAFETY.md
	tests/run architecture $(ARGS)

live: ## the real binary over sockets
	tests/run live $(ARGS)

sim: ## the simulation; SEED=n plays one, SEEDS=n many, from FROM=n on
	$(foreach name,SEED SEEDS FROM TRACE,$(if $($(name)),$(name)=$($(name)))) tests/run simulation $(ARGS)

python: ## foreign clients, browsers, nginx, failing system calls
	tests/run python $(ARGS)

clients: ## the clients in clients/
	tests/run clients $(ARGS)

autobahn: ## the Autobahn TestSuite
	tests/run autobahn $(ARGS)

fuzz: ## every fuzz target, or T=target, for SECONDS=20 each
	tests/fuzz $(ARGS) $(or $(SECONDS),20) $(T)

mutations: ## breaks the server on purpose; ARGS='--list', '--fast', numbers or names
	tests/simulation/mutations $(ARGS)

bench: ## all measurements (an hour); ARGS=--quick for some minutes
	benches/run $(ARGS)

# Every variable by which a test writes its file is found in the tests.
golden: ## writes the generated files: config.ini, docs/, tests/SAFETY.md, seeds of the corpus
	env $(addsuffix =1,$(shell grep -rhoE 'UPDATE_[A-Z_]+' --include='*.rs' src tests | sort -u)) \
		cargo test --locked --quiet --lib --test safety

ci: ## what CI runs
	.ci/run
