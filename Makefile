# The front door. `make run` and `make test` install what is missing, build, and do it; `make help` lists the rest.
# The build itself is described in meson.build.

BUILD   ?= build
LISTEN  ?= 127.0.0.1:8080
WORKERS ?= 0
MODELS  ?= models/pretrained
STATE   ?=
PREFIX  ?= /usr
DESTDIR ?=

.DEFAULT_GOAL := help
.PHONY: help run build test bench install clean gates asan tsan valgrind lint fuzz \
        storm soak stream-test docker-test systemd-test docker format

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build, then serve the shipped models on LISTEN=127.0.0.1:8080; STATE=FOLDER keeps the sessions
	@tools/need run
	@echo
	@echo "rnnd will listen on http://$(LISTEN).  Try it from another terminal:"
	@echo
	@echo "  curl -s http://$(LISTEN)/generate -d '{\"model\":\"kjv\",\"input\":\"In the beginning \",\"max_tokens\":80,\"seed\":1}'"
	@echo
	@exec $(BUILD)/rnnd serve --models $(MODELS) --listen $(LISTEN) --workers $(WORKERS) --state-dir '$(STATE)'

build: $(BUILD)/build.ninja ## the program, at build/rnnd
	@ninja -C $(BUILD) --quiet

$(BUILD)/build.ninja:
	@tools/need build
	@meson setup $(BUILD) --prefix $(PREFIX) -Dtests=false -Dbuildtype=debugoptimized >/dev/null

test: ## install what is missing, build, and pass the whole test suite
	@tools/need build test
	@[ -e $(BUILD)/build.ninja ] || meson setup $(BUILD) --prefix $(PREFIX) >/dev/null
	@meson configure $(BUILD) -Dtests=true
	@ninja -C $(BUILD) --quiet
	@tests/run --build $(BUILD)

bench: ## step times and request rates beside OpenBLAS, oneDNN and the HTTP floor (some minutes)
	@tools/need build test bench
	@[ -e build-bench/build.ninja ] || meson setup build-bench -Dbuildtype=debugoptimized -Dtests=true >/dev/null
	@ninja -C build-bench --quiet
	@tests/bench/run build-bench

install: build ## into DESTDIR/PREFIX: program, models, sample configuration, unit, manual page
	@DESTDIR=$(abspath $(DESTDIR)) meson install -C $(BUILD) --no-rebuild

clean: ## remove what was built
	rm -rf build build-*

gates: ## what CI adds to `make test`: lint, two compilers, sanitizers
	@tests/gates

asan: ## the whole suite under ASan and UBSan
	@tests/gates asan-all

tsan: ## the whole suite under TSan
	@tests/gates tsan-all

valgrind: ## memcheck on the unit tests (a quarter of an hour)
	@tests/gates valgrind

lint: ## arrows between the rooms, formatting, files
	@tools/need lint
	@tests/lint/run

format: ## clang-format over all C
	@tools/need lint
	@git ls-files '*.c' '*.h' | xargs clang-format -i

fuzz: ## each libFuzzer target for FUZZ_SECONDS=120
	@tools/need build fuzz
	@tests/fuzz/run

storm: ## sessions in a storm of requests and kills for STORM_SECONDS=900, instrumented (ASan, then TSan)
	@tools/need build test gates
	@tests/gates storm

soak: ## a hundred sessions that stay open, for SOAK_SECONDS=3600: every answer right, nothing grows
	@tools/need build test
	@[ -e $(BUILD)/build.ninja ] || meson setup $(BUILD) --prefix $(PREFIX) >/dev/null
	@ninja -C $(BUILD) --quiet rnnd
	@tests/soak/run $(BUILD)

stream-test: ## streaming sessions with Node, Python and Chromium, through nginx and HAProxy
	@tools/need build test stream
	@[ -e $(BUILD)/build.ninja ] || meson setup $(BUILD) --prefix $(PREFIX) >/dev/null
	@ninja -C $(BUILD) --quiet
	@tests/stream/run $(BUILD)

docker: ## the container image, with the docker at hand
	docker build -t rnnd .

docker-test: ## build and run the Dockerfile for real (buildah, podman, debootstrap; root)
	@tools/need docker
	@tests/deploy/docker-test

systemd-test: ## boot the unit for real (systemd-nspawn, debootstrap; root)
	@tools/need build systemd
	@tests/deploy/systemd-test
