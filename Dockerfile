# docker build -t deskwhep .
#
# The image holds one static program and runs as nobody. docs/network.md tells
# how to give it a display and a way out.
FROM golang:1.26-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
	libvpx-dev libyuv-dev libaom-dev libopenh264-dev libjpeg62-turbo-dev pkg-config && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN go build -trimpath -tags netgo,osusergo -o /deskwhep \
	-ldflags "-s -w -X main.version=$VERSION -linkmode external -extldflags '-static -lstdc++ -ljpeg -lm'" . \
	&& mkdir /config && chown 65534:65534 /config

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /deskwhep /deskwhep
COPY --from=build --chown=65534:65534 /config /config
ENV XDG_CONFIG_HOME=/config DESKWHEP_LISTEN=0.0.0.0:8080
USER 65534:65534
EXPOSE 8080/tcp 8080/udp
ENTRYPOINT ["/deskwhep"]
