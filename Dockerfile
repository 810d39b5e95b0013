# BUILDER needs cargo at the version that Cargo.toml names; BASE only a C library, of the same age or newer.
ARG BUILDER=rust:1-slim-bookworm
ARG BASE=debian:bookworm-slim

FROM ${BUILDER} AS build
# A C compiler and make build the Lua interpreter.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev make pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock clippy.toml ./
COPY src src
# The manifest declares targets that the image does not need.
COPY tests tests
COPY benches benches
RUN cargo build --release --locked --bin millpond

FROM ${BASE}
RUN useradd --system --user-group --home-dir /data --shell /usr/sbin/nologin millpond \
    && install --directory --owner millpond --group millpond --mode 700 /data
COPY --from=build /src/target/release/millpond /usr/local/bin/millpond
USER millpond
# By the environment, and not by flags, so that `millpond ping` and whoever runs the image can read and change them.
ENV MILLPOND_DIR=/data
WORKDIR /data
VOLUME /data
EXPOSE 6379
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=2s --start-period=30s CMD ["millpond", "ping", "--host", "127.0.0.1"]
# A container's network is closed unless a port is published, so protected mode would only lock its neighbours out;
# Redis' own image does the same.
ENTRYPOINT ["millpond", "--bind", "0.0.0.0", "--protected-mode", "no"]
