# One image for every process: connectors, shipper, pipelines, the topics job, the simulated venue.
# `docker compose` picks the command; nothing runs as root.

FROM python:3.11-slim AS build
WORKDIR /build
COPY infra/runtime.lock ./runtime.lock
RUN python -m venv /opt/shriven \
 && /opt/shriven/bin/pip install --no-cache-dir --require-hashes -r runtime.lock

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 shriven \
 && mkdir -p /var/lib/shriven /var/cache/shriven \
 && chown shriven:shriven /var/lib/shriven /var/cache/shriven
COPY --from=build /opt/shriven /opt/shriven
WORKDIR /opt/app
COPY schemas ./schemas
COPY processors ./processors
COPY streams ./streams
COPY connectors ./connectors
COPY infra ./infra
ENV PATH=/opt/shriven/bin:$PATH \
    PYTHONPATH=/opt/app \
    PYTHONUNBUFFERED=1 \
    SHRIVEN_DATA=/var/lib/shriven \
    SHRIVEN_CACHE=/var/cache/shriven \
    SHRIVEN_LOG=json \
    SHRIVEN_METRICS_ADDRESS=0.0.0.0 \
    SHRIVEN_METRICS_PORT=9464
USER shriven
VOLUME ["/var/lib/shriven"]
EXPOSE 9464
# A process is healthy when its own metrics endpoint answers.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "infra.process.health"]
ENTRYPOINT ["python", "-m", "infra.cli"]
CMD ["--help"]
