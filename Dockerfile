# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY migrations migrations
COPY sql sql
COPY src src
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin rowcast && cp target/release/rowcast /rowcast && strip /rowcast

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Rowcast" \
      org.opencontainers.image.description="Supabase-compatible realtime for any Postgres" \
      org.opencontainers.image.source="https://github.com/rowcast/rowcast" \
      org.opencontainers.image.licenses="Apache-2.0"
# The health check in the stock installation's compose file calls curl.
RUN apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin rowcast
COPY --from=build /rowcast /usr/local/bin/rowcast
USER 10001:10001
# PORT, as the stock container has it, listens on every interface; ROWCAST_LISTEN would win over a PORT from outside.
ENV PORT=4000
EXPOSE 4000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["rowcast", "healthcheck"]
ENTRYPOINT ["rowcast"]
CMD ["serve"]
