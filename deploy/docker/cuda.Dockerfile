# The program of deploy/serve.py on an NVIDIA GPU:
#
#     docker build -f deploy/docker/cuda.Dockerfile -t layerzero:cuda .
#     docker run --gpus all -v "$PWD/prod:/etc/layerzero/policy:ro" -p 9464:9464 layerzero:cuda
#
# torch's packages bring CUDA's libraries, and the host the driver. Packages of kernels that compile with nvcc need
# CUDA=12.8.1-devel-ubuntu24.04; add them (flashinfer-python, flash-attn) where torch is installed.
ARG CUDA=12.8.1-base-ubuntu24.04

FROM nvidia/cuda:${CUDA} AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-dev python3-venv cmake g++ && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY grammar grammar
COPY policies policies
COPY layerzero layerzero
RUN python -m pip wheel --no-deps --wheel-dir /wheels .

FROM nvidia/cuda:${CUDA}
# Triton compiles its launchers at the first call: a C compiler and Python's headers stay in the image.
RUN apt-get update && apt-get install -y --no-install-recommends python3-dev python3-venv gcc && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
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
