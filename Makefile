# Everything that people and CI run. `make run` and `make test` install what they need.
SHELL := /bin/bash
.DEFAULT_GOAL := build
export CGO_ENABLED := 1

.PHONY: build run test planted soak interop fuzz fmt check lint generate vuln clean

build: ## the program: bin/cockpit
	@mkdir -p bin
	go build -o bin/cockpit ./cmd/cockpit

run: build ## everything on this machine, with a demo
	exec bin/cockpit dev

fmt: ## format the tree
	gofmt -w $$(git ls-files '*.go')

check: ## what must hold before a test runs
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "not formatted (make fmt):"; echo "$$bad"; exit 1; fi
	go mod tidy -diff
	go vet ./...

# The tools are built once, from modules of their own, and are in Go's cache after that: the first time takes minutes.
TOOL := go tool -modfile=internal/tools/go.mod

lint: check ## check, and linters, generated code that is current, and secrets in the history
	$(TOOL) golangci-lint run ./...
	@new=$$(mktemp -d); trap 'rm -rf '$$new EXIT; go -C internal/tools run ./protoc $(CURDIR)/schemas/events/eventspb/events.proto $$new \
		&& diff -u schemas/events/eventspb/events.pb.go $$new/events.pb.go || { echo "events.pb.go is not what events.proto says: make generate"; exit 1; }
	@go run ./cmd/cockpit openapi | diff -u schemas/openapi.json - || { echo "schemas/openapi.json is not what the operations say: make generate"; exit 1; }
	go tool -modfile=internal/tools/oasdiff/go.mod oasdiff breaking --fail-on ERR --err-ignore schemas/openapi.breaking.txt schemas/openapi.released.json schemas/openapi.json
	go tool -modfile=internal/tools/secrets/go.mod gitleaks git --no-banner --redact .

generate: ## what is made from something else: the code of events.proto (without a protoc on the system), the API's description
	go generate ./...

vuln: ## known vulnerabilities; asks vuln.go.dev, and fails where that can't be reached
	$(TOOL) govulncheck ./... || { echo "govulncheck found something, or could not reach https://vuln.go.dev (its message stands above)"; exit 1; }

test: lint ## unit, store and end-to-end tests on real engines
	go test -count=1 -timeout 12m ./...

interop: ## the journey with real programs: Apache Kafka, kcat, CloudEvents SDKs, LiteLLM (Java 17, Maven, Python 3)
	go test -tags interop -count=1 -v -timeout 20m ./internal/interop

fuzz: MINUTES ?= 10
fuzz: ## every fuzz target in turn, MINUTES for all together; an input that fails stays in testdata/fuzz
	go run ./internal/fuzz -minutes $(MINUTES)

planted: ## plants each bug of internal/planted, and shows which test catches it
	go test -tags planted -count=1 -v -timeout 20m ./internal/planted

SEEDS ?= 20
soak: MINUTES ?= 0
SOAK ?= soak.ndjson

soak: ## the fault matrix for long: SEEDS runs of each case, beginning none after MINUTES; goes on where SOAK ends (docs/reliability.md)
	go run ./internal/faults/soak -seeds $(SEEDS) -minutes $(MINUTES) -out $(SOAK)

clean: ## what the build made
	rm -rf bin
