# The package on a CPU. The default command is the main job:
#   docker build --tag seqgan-env . && docker run --rm --volume "$PWD/runs:/work/runs" seqgan-env
FROM python:3.11-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 user
COPY constraints.txt /
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --constraint /constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu \
        "$(ls /wheels/*.whl)[bench,plots]"
WORKDIR /work
RUN chown user /work
USER user
CMD ["seqgan", "train"]
