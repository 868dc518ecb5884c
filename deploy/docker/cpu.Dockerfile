# The program of deploy/serve.py on a CPU:
#
#     docker build -f deploy/docker/cpu.Dockerfile -t layerzero:cpu .
#
# TORCH_INDEX is a package index with torch's CPU builds; without it the default one gives the builds with CUDA, which
# run too and are some GiB larger.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY grammar grammar
COPY policies policies
COPY layerzero layerzero
RUN python -m pip wheel --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
ARG TORCH_INDEX=""
COPY --from=build /wheels /wheels
COPY constraints.txt /wheels/
RUN python -m pip install --no-cache-dir --constraint /wheels/constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
      torch \
 && python -m pip install --no-cache-dir --constraint /wheels/constraints.txt \
      "$(echo /wheels/layerzero-*.whl)[torch,telemetry,live]" \
 && rm -rf /wheels
WORKDIR /app
COPY deploy/serve.py ./
RUN lz doctor && useradd --uid 10001 layerzero
USER 10001
EXPOSE 9464
ENTRYPOINT ["python", "/app/serve.py"]
CMD ["/etc/layerzero/policy/policy.lzp", "--host", "0.0.0.0"]
