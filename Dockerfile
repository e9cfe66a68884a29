# AsyncQueue as an image: `docker build -t asyncqueue .`
# What is installed is pinned with hashes by requirements/run.txt; to pin the base image too, name it by its digest.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements requirements
RUN python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/tools.txt
COPY pyproject.toml README.md LICENSE ./
COPY aq aq
RUN uv build --wheel --build-constraint requirements/all.txt --out-dir dist \
 && uv venv /opt/aq \
 && uv pip install --no-cache --python /opt/aq/bin/python --compile-bytecode --require-hashes -r requirements/run.txt \
 && uv pip install --no-cache --python /opt/aq/bin/python --compile-bytecode --no-deps dist/*.whl

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home aq && install --directory --owner=aq --mode=0700 /var/lib/aq
COPY --from=build /opt/aq /opt/aq
ENV PATH=/opt/aq/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    AQ_HOST=0.0.0.0 \
    AQ_PORT=8080 \
    AQ_STORAGE=sqlite:////var/lib/aq/aq.db
USER aq
WORKDIR /var/lib/aq
VOLUME /var/lib/aq
EXPOSE 8080
# The first SIGTERM ends it in good order within --grace (8 s); Docker waits 10 s by itself.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ['AQ_PORT']}/healthz\", timeout=2)"]
ENTRYPOINT ["aq"]
CMD ["serve"]
