# The commands of a person who has only cloned this. They install what is missing; see README.md for the variables.
#   make run          everything, then a first answer, then goes on serving (ONCE=1: ends after the answer)
#   make build        the release programs in build/release/bin/
#   make test         the whole test suite (dev preset); test-asan, test-tsan: the same under the sanitizers
#   make bench        the benchmarks (bench/README.md)
#   make install      what make build has built, below PREFIX (/usr/local) and DESTDIR; then packaging/README.md
SHELL := /bin/bash
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
export INFERD_CACHE LLAMA_CPP_DIR INFERD_MODEL

.PHONY: run build test test-asan test-tsan bench install deps model clean
deps:
	@scripts/packages.sh

build: deps
	@scripts/build.sh release

model: deps
	@scripts/default-model.sh

run: build
	@scripts/run.sh

test: deps
	@scripts/test.sh dev

test-asan: deps
	@scripts/test.sh asan

test-tsan: deps
	@scripts/test.sh tsan

bench: build
	@scripts/bench.sh

# Builds nothing: it may run as root, for whom the cache of llama.cpp is elsewhere.
install:
	@test -x build/release/bin/inferd-daemon || { echo "nothing is built: make build first" >&2; exit 1; }
	@DESTDIR="$(DESTDIR)" cmake --install build/release --prefix "$(abspath $(PREFIX))"

clean:
	rm -rf build
