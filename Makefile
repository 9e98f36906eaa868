# Everything that one does with this repository. `make` alone prints this list.

GO      ?= go
BIN     := bin/haypile
# A release is one static file: cgo for the block cache outside the Go heap, no dynamic libraries.
TAGS    := netgo,osusergo
LDFLAGS := -s -w -linkmode external -extldflags "-static"
KILLS   ?= 50
FUZZ    ?= 10s
SUITE   ?= strings

.PHONY: help build test race lint fuzz-smoke scripts e2e crash bench docs demo drill

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/haypile, static
	CGO_ENABLED=1 $(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/haypile

test: ## run all tests (a minute or two)
	$(GO) test ./...

race: ## the same with the race detector, the processes under test included
	$(GO) test -race ./...

lint: ## gofmt and go vet, with all build tags
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not gofmt-ed:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags e2e ./...
	cd tests/clients && $(GO) vet ./...

fuzz-smoke: ## every fuzzer for a few seconds (FUZZ=10s)
	@grep -rl --include='*_test.go' '^func Fuzz' internal tests bench | sort | while read -r file; do \
	  for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do \
	    echo "== $$(dirname "$$file") $$name"; \
	    $(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZ) "./$$(dirname "$$file")" </dev/null || exit 1; \
	  done; \
	done

scripts: ## the command transcripts, against redis-server, haypile server and haypile proxy
	$(GO) test -count=1 ./tests/scripts

e2e: ## tests with whole clusters of processes, and with real client libraries (some minutes)
	$(GO) test -count=1 -tags e2e -timeout 30m ./tests/...
	cd tests/clients && $(GO) test -count=1 ./...

crash: ## kill -9 under load, KILLS=50 times
	$(GO) test -count=1 -v -timeout 60m -run TestKill ./tests/crash -kills $(KILLS)

bench: ## redis-benchmark against haypile and redis-server in turn (SUITE=strings, types, bits); writes bench/results/
	$(GO) run ./bench/compare -suite $(SUITE)

docs: ## generate docs/commands/ and docs/config.md from the tables
	$(GO) run ./cmd/haypile docs docs

demo: build ## a whole cluster on this machine
	$(BIN) demo

drill: build ## kill the primary of a running demo, and measure the recovery
	$(BIN) drill kill-primary
