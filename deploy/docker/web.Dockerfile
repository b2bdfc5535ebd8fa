# Console, API and feed, and all commands; without CASA. Build it in the checkout:
#   docker build -f deploy/docker/web.Dockerfile -t absurd-web .
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
    && /opt/absurd/bin/pip install --no-cache-dir --constraint constraints.txt ".[server]"

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 990 --home-dir /var/lib/absurd --create-home absurd && install -d -o absurd /data
COPY --from=build /opt/absurd /opt/absurd
ENV PATH=/opt/absurd/bin:$PATH PYTHONUNBUFFERED=1 \
    ABSURD_MODE=production ABSURD_VAR=/var/lib/absurd ABSURD_BIND=0.0.0.0 ABSURD_PORT=8000
USER 990
WORKDIR /var/lib/absurd
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "daphne", "-v", "1", "-b", "0.0.0.0", "-p", "8000", "absurd_project.asgi:application"]
