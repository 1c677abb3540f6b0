# The commands of a person who has only cloned this. They install what is missing; see README.md for the variables.
#   make run          everything, then a first answer, then goes on serving (ONCE=1: ends after the answer)
#   make build        the release programs in build/release/bin/
#   make test         the whole test suite (dev preset); test-asan, test-tsan: the same under the sanitizers
#   make bench        the benchmarks (bench/README.md)
SHELL := /bin/bash
JOBS ?= $(shell nproc)
export INFERD_CACHE LLAMA_CPP_DIR INFERD_MODEL

.PHONY: run build test test-asan test-tsan bench deps model clean
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

clean:
	rm -rf build
