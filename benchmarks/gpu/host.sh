# For an offline GPU host: unpacks what was brought, and sets what the libraries want to know. Source it from the root
# of the checkout:
#
#     . benchmarks/gpu/host.sh FOLDER A     # FlashInfer, SGLang, Liger, xFormers, FlashAttention 2
#     . benchmarks/gpu/host.sh FOLDER B     # FlashAttention 4, quack: they cannot be installed beside the others
#
# FOLDER holds packA.tar.xz (flash_attn2.tar.xz, flashinfer_modules.tar.xz) or packB.tar.xz, each a tree of site-packages,
# and the wheels of `make gpu-bundle`.
PACKS=$1
SITE=$(mktemp -d)
export PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false FLASHINFER_CUDA_ARCH_LIST=9.0a FLASHINFER_USE_CUDA_NORM=1
export CUDA_HOME=${CUDA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")}
python3 -m pip install -q --no-index --no-deps --no-compile --target "$SITE" "$PACKS"/wheels/*.whl
# The checkout comes first on the path, and has no extension for this Python: the wheel's serves it.
NATIVE=$(find "$SITE/layerzero/native" -name '_matcher*.so')
if [ -n "$NATIVE" ]; then export LAYERZERO_NATIVE=$NATIVE; fi
tar -xSf "$PACKS/pack$2.tar.xz" -C "$SITE"
if [ "$2" = A ]; then
    mkdir -p "$SITE/flashinfer/data/aot"
    tar -xJf "$PACKS/flashinfer_modules.tar.xz" -C "$SITE/flashinfer/data/aot"
    tar -xJf "$PACKS/flash_attn2.tar.xz" -C "$SITE"
fi
# FlashInfer links what it compiles against libcuda.so, and reads curand's headers, which come with torch's wheels.
mkdir -p "$SITE/.stub"
CUDA=$(ldconfig -p | awk '/libcuda.so.1/{print $NF; exit}')
if [ -z "$CUDA" ]; then CUDA=$(ls /usr/local/nvidia/lib*/libcuda.so.1 2>/dev/null | head -1); fi
if [ -n "$CUDA" ]; then ln -sfn "$CUDA" "$SITE/.stub/libcuda.so"; fi
export FLASHINFER_EXTRA_LDFLAGS=-L$SITE/.stub
CURAND=$(python3 -c 'import pathlib, sysconfig; p = pathlib.Path(sysconfig.get_path("purelib")); print(next(p.glob("nvidia/cu13/include"), ""))')
if [ -n "$CURAND" ]; then export NVCC_APPEND_FLAGS="-I$CURAND" CPATH=$CURAND; fi
export PYTHONPATH=$PWD:$SITE:$SITE/nvidia_cutlass_dsl/dsl_packages
