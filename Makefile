# make run     installs what is missing, builds, and streams the desktop
# make test    installs what the tests need, checks the sources, runs all tests
# make check   vet, format and known vulnerabilities
# make fuzz    feeds the parsers for a long time (FUZZ_TIME=5m each)
# make bench   measures, beside the bare libraries
# make build   builds bin/deskwhep
# make release builds dist/: an archive and a Debian package (VERSION=1.2.3)
#
# ARGS="--fps 60" goes to the program.

BUILD_PACKAGES = gcc g++ libc6-dev pkg-config libvpx-dev libyuv-dev libaom-dev libopenh264-dev libjpeg62-turbo-dev
TEST_PACKAGES  = xvfb chromium firefox-esr ffmpeg xterm x11-apps x11-xserver-utils xdotool xauth xcompmgr procps sway foot grim weston fonts-dejavu-core dpkg-dev
TEST_PROGRAMS  = nginx caddy

export CGO_ENABLED = 1

# There is but one archive here: with libvpx in the program, encode/vpx/zero_linux.c
# saves 90 MiB. Without it the shared library serves.
ARCHIVES = bin/lib
export GOFLAGS += -ldflags=-extldflags=-L$(ARCHIVES)

FUZZ_TARGETS = whep:FuzzOffer whep:FuzzFragment whep:FuzzIfMatch whep:FuzzPost interceptors:FuzzControl \
               conformance:FuzzAnswer conformance:FuzzPayload capture/x11:FuzzSetup capture/x11:FuzzCookie
FUZZ_TIME   ?= 5m

.PHONY: run build release test check fuzz bench format

run: build
	@.ci/stream $(ARGS)

build:
	@.ci/packages $(BUILD_PACKAGES)
	@mkdir -p $(ARCHIVES)
	@ln -sf "$$($(CC) -print-file-name=libvpx.a)" $(ARCHIVES)
	go build -o bin/deskwhep .

release:
	@.ci/packages $(BUILD_PACKAGES) dpkg-dev
	@VERSION="$(VERSION)" packaging/release

# What a viewer sees of a stream is a question of time: the packages that look at
# it are tested one after the other, alone.
STREAMS = . ./whep

test: build format
	@.ci/packages $(TEST_PACKAGES)
	@.ci/unpack $(TEST_PROGRAMS)
	go vet ./...
	@for os in windows darwin freebsd; do GOOS=$$os CGO_ENABLED=0 go vet ./capture/... || exit 1; done
	go test -race -count=1 -timeout 15m $$(go list ./... | grep -vxF "$$(go list $(STREAMS))")
	go test -race -count=1 -timeout 15m -p 1 $(STREAMS)
	@$(MAKE) --no-print-directory fuzz FUZZ_TIME=5s

format:
	@wrong=$$(gofmt -l .); [ -z "$$wrong" ] || { echo "gofmt -w these:" $$wrong; exit 1; }

check: format
	@.ci/packages $(BUILD_PACKAGES)
	go vet ./...
	go tool govulncheck ./...

fuzz:
	@.ci/packages $(BUILD_PACKAGES)
	@for t in $(FUZZ_TARGETS); do \
		go test -run '^$$' -fuzz "^$${t#*:}$$" -fuzztime $(FUZZ_TIME) -fuzzminimizetime 1x ./$${t%:*} || exit 1; \
	done

bench: build
	@.ci/packages $(TEST_PACKAGES)
	go test -run '^$$' -bench . -timeout 60m . ./capture/... ./encode/... ./interceptors/... ./whep/...
