# Quantum Trader in a container. `docker build -t quantum-trader .`, then `docker run quantum-trader`:
# paper mode, no keys, no Redis, no network needed. docs/container.md says how to run it in earnest.

FROM debian:trixie-slim AS base
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log


FROM base AS build
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src

# Tools and product apart: pip and the build backend stay behind in this stage.
# The optional secret is a pip.conf, for builds that must use a package mirror.
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv /tools \
 && /tools/bin/pip install --quiet --require-hashes -r requirements/build.txt \
 && python3 -m venv --without-pip /opt/quantum-trader \
 && /tools/bin/pip --python /opt/quantum-trader/bin/python install \
      --quiet --no-compile --only-binary :all: --require-hashes -r requirements/runtime.txt

COPY pyproject.toml README.md ./
COPY quantum_trader/ quantum_trader/
RUN /tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /tools/bin/pip --python /opt/quantum-trader/bin/python install \
      --quiet --no-compile --no-deps --no-index /wheel/*.whl \
 && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/quantum-trader/lib


FROM base
RUN groupadd --gid 10001 quantum \
 && useradd --uid 10001 --gid quantum --no-log-init --no-create-home \
      --home-dir /var/lib/quantum-trader --shell /usr/sbin/nologin quantum \
 && install --directory --owner quantum --group quantum --mode 0700 /var/lib/quantum-trader
COPY --from=build /opt/quantum-trader /opt/quantum-trader
# Mount a folder with your own config.toml over this one. Commands read config.toml where they are called.
COPY config.toml /etc/quantum-trader/config.toml
WORKDIR /etc/quantum-trader
ENV PATH=/opt/quantum-trader/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    QT_STATE_DIR=/var/lib/quantum-trader

USER 10001:10001
# The embedded Redis, unsettled orders, the decision archive: what must outlive the container.
VOLUME /var/lib/quantum-trader
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 \
  CMD ["quantum-trader", "status", "--json"]
ENTRYPOINT ["quantum-trader"]
CMD ["run"]
