# userns-probe for linux/amd64 and linux/arm64. scripts/image builds it, and so does `docker build .` where the package
# index can be reached from inside a build.
ARG BASE=debian:trixie-slim

FROM ${BASE} AS python
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache \
        /var/log/apt /var/log/dpkg.log

FROM python AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv
WORKDIR /build
# build/wheels is there after `scripts/image --wheels`, which sets PIP_NO_INDEX. Wherever a wheel comes from, its hash is
# the one in the lock.
ARG PIP_NO_INDEX
COPY requirements.lock build/wheels* ./
RUN python3 -m venv /opt/userns-probe \
    && /opt/userns-probe/bin/pip install --no-cache-dir --no-compile --only-binary :all: \
        --find-links . --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY probe probe
# A probe is a new process each time: without bytecode it would compile all that it imports, every half hour. Bytecode
# without columns, which tracebacks would underline, is read faster, and from one file faster still. The page's template is
# compiled, too.
RUN /opt/userns-probe/bin/pip install --no-cache-dir --no-compile --no-deps --no-build-isolation . \
    && /opt/userns-probe/bin/pip uninstall --yes setuptools pip \
    && /opt/userns-probe/bin/python3 -B -P -m probe.outputs.compile_page \
    && python3 -X no_debug_ranges -m compileall -q --invalidation-mode unchecked-hash /opt/userns-probe \
    && /opt/userns-probe/bin/python3 -B -P -m probe.make_archive

FROM python
ARG VERSION=0
LABEL org.opencontainers.image.title="userns-probe" \
      org.opencontainers.image.description="Do Pods with hostUsers: false run on this Kubernetes node?" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# The /proc of a container says nothing of the node: the node's is looked for elsewhere, and else it is unknown.
# UTF-8: in the locale C the report for people has ASCII signs. One malloc arena: one for each thread of `serve` would hold three megabytes more.
ENV PATH=/opt/userns-probe/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=1 \
    USERNS_PROBE_PROC=/host/proc
COPY --from=build /opt/userns-probe /opt/userns-probe
# No USER: the container that probes needs to be root on the node, the one that listens is told to be nobody.
ENTRYPOINT ["userns-probe"]
