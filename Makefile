# make run     installs what is missing, builds, and streams the desktop
# make test    installs what the tests need, checks the sources, runs all tests
# make check   vet, format and known vulnerabilities
# make bench   measures, beside the bare libraries
# make build   builds bin/deskwhep
#
# ARGS="--fps 60" goes to the program.

BUILD_PACKAGES = gcc libc6-dev pkg-config libvpx-dev libyuv-dev libaom-dev libopenh264-dev
TEST_PACKAGES  = xvfb chromium ffmpeg xterm x11-apps x11-xserver-utils xdotool procps sway foot util-linux

export CGO_ENABLED = 1

.PHONY: run build test check bench format

run: build
	@.ci/stream $(ARGS)

build:
	@.ci/packages $(BUILD_PACKAGES)
	go build -o bin/deskwhep .

test: build format
	@.ci/packages $(TEST_PACKAGES)
	go vet ./...
	go test -race -count=1 -timeout 15m ./...

format:
	@wrong=$$(gofmt -l .); [ -z "$$wrong" ] || { echo "gofmt -w these:" $$wrong; exit 1; }

check: format
	@.ci/packages $(BUILD_PACKAGES)
	go vet ./...
	go tool govulncheck ./...

bench:
	@.ci/packages $(BUILD_PACKAGES) $(TEST_PACKAGES)
	go test -run '^$$' -bench . ./...
