# Workers and ingest, with CASA. Build it in the checkout:
#   docker build -f deploy/docker/worker.Dockerfile -t absurd-worker .
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/absurd
COPY requirements.lock pyproject.toml README.md LICENSE manage.py ./
COPY absurd_project absurd_project
COPY tasks_app tasks_app
COPY workers workers
COPY pipeline_app pipeline_app
COPY templates templates
# The versions of the lock, without its hashes: pip takes none for a package that is built here.
RUN sed -e '/--hash=/d' -e 's/ \\$//' requirements.lock > constraints.txt \
    && /opt/absurd/bin/pip install --no-cache-dir --constraint constraints.txt ".[server,pipeline]"

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 990 --home-dir /var/lib/absurd --create-home absurd && install -d -o absurd /data
COPY --from=build /opt/absurd /opt/absurd
ENV PATH=/opt/absurd/bin:$PATH PYTHONUNBUFFERED=1 \
    ABSURD_MODE=production ABSURD_VAR=/var/lib/absurd
USER 990
WORKDIR /var/lib/absurd
# The first SIGTERM drains: give `docker stop` the time of --drain-timeout, and an init process that reaps (--init).
STOPSIGNAL SIGTERM
CMD ["absurd", "runworker", "--drain-timeout", "300"]
