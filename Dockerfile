# The image of the router and the SRV controller: Debian's Python, the locked packages, the project; no pip, no compiler.
#
# Where packages are fetched from is the builder's matter: mount its pip and apt settings into the build.
# Few steps, as some storage drivers copy the whole image for each.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS python
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log

FROM python AS build
COPY requirements.lock requirements-build.lock /src/
# Two environments: pip and hatchling stay in the first, the second is what the image gets.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-venv \
    && python3 -m venv /opt/build \
    && python3 -m venv --without-pip /opt/fairlead \
    && export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_PROGRESS_BAR=off \
    && /opt/build/bin/pip install --require-hashes --no-deps -r /src/requirements-build.lock \
    && /opt/build/bin/pip --python /opt/fairlead/bin/python install --require-hashes --no-deps -r /src/requirements.lock
COPY . /src/
RUN export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    && /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /opt/wheel /src \
    && /opt/build/bin/pip --python /opt/fairlead/bin/python install --no-deps --no-index --find-links /opt/wheel fairlead

FROM python
ENV PATH=/opt/fairlead/bin:/usr/local/bin:/usr/bin:/bin
LABEL org.opencontainers.image.title="Fairlead" \
      org.opencontainers.image.description="A routing proxy for MySQL: DNS SRV discovery, X Protocol health checks" \
      org.opencontainers.image.licenses="Apache-2.0"
# Classic protocol read-write and read-only, X Protocol the same, HTTP. No HEALTHCHECK: where HTTP listens is the
# configuration's matter, and who restarts containers asks /livez and /readyz there.
EXPOSE 6446 6447 6448 6449 8443
# By number: `runAsNonRoot` in Kubernetes cannot check a name.
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["fairlead"]
CMD ["router", "--config", "/etc/fairlead/fairlead.toml"]
# Last, as all above stays the same from one version to the next.
COPY --from=build /opt/fairlead /opt/fairlead
