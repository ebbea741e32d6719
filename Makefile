# Everything that people and CI run. `make run` and `make test` install what they need.
SHELL := /bin/bash
.DEFAULT_GOAL := build
export CGO_ENABLED := 1

.PHONY: build run test interop soak fuzz fmt lint generate bench clean

build: ## the program: bin/cockpit
	@mkdir -p bin
	go build -o bin/cockpit ./cmd/cockpit

run: build ## everything on this machine, with a demo
	exec bin/cockpit dev

fmt: ## format the tree
	gofmt -w $$(git ls-files '*.go')

lint: ## what must hold before a test runs
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "not formatted (make fmt):"; echo "$$bad"; exit 1; fi
	go mod tidy -diff
	go vet ./...

test: lint ## unit, store and end-to-end tests on real engines
	go test -count=1 -timeout 12m ./...

interop: ## the journey with real programs: Apache Kafka, kcat, CloudEvents SDKs, LiteLLM (Java 17, Maven, Python 3)
	go test -tags interop -count=1 -v -timeout 20m ./internal/interop

MINUTES ?= 10
fuzz: ## every fuzz target in turn, MINUTES for all together; an input that fails stays in testdata/fuzz
	go run ./internal/fuzz -minutes $(MINUTES)

SEEDS ?= 20
MINUTES ?= 0
SOAK ?= soak.ndjson

soak: ## the fault matrix for long: SEEDS runs of each case, beginning none after MINUTES; goes on where SOAK ends (docs/reliability.md)
	go run ./internal/faults/soak -seeds $(SEEDS) -minutes $(MINUTES) -out $(SOAK)

clean: ## what the build made
	rm -rf bin
