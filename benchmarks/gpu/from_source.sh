# What has no wheel for the host's torch, built from the sources of its authors. After host.sh, which says where:
#
#     bash benchmarks/gpu/from_source.sh SOURCES "$SITE"
#
# SOURCES/apex and SOURCES/xformers are checkouts; one that is not there is left out. Of APEX only the norms are built. Of
# xFormers only what its own selective build keeps: its attention on CUDA calls torch's operator, and asks no more of the
# extension than that it loads. The versions say that these are builds of a part. Half a minute each on 16 cores.
set -euo pipefail
SOURCES=$(realpath "$1") SITE=$2
ARCH=$(python3 -c 'import torch; print("{}.{}".format(*torch.cuda.get_device_capability()))')
export TORCH_CUDA_ARCH_LIST=$ARCH
PIP="python3 -m pip install -q --no-index --no-deps --no-build-isolation --no-compile --upgrade --target $SITE"

if [ -d "$SOURCES/apex" ]; then
    cat >"$SOURCES/apex/setup.py" <<'END'
from setuptools import find_packages, setup
from torch.utils.cpp_extension import BuildExtension, CUDAExtension

norms = CUDAExtension(
    "fused_layer_norm_cuda",
    ["csrc/layer_norm_cuda.cpp", "csrc/layer_norm_cuda_kernel.cu"],
    extra_compile_args={"cxx": ["-O3"], "nvcc": ["-maxrregcount=50", "-O3", "--use_fast_math"]},
)
packages = find_packages(include=["apex", "apex.*"])
setup(name="apex", version="0.1+norms", packages=packages, ext_modules=[norms], cmdclass={"build_ext": BuildExtension})
END
    rm -f "$SOURCES/apex/pyproject.toml"
    $PIP "$SOURCES/apex" && echo "built apex 0.1+norms"
fi
if [ -d "$SOURCES/xformers" ]; then
    mkdir -p "$SOURCES/xformers/third_party/cutlass/include"
    rm -rf "$SITE"/xformers "$SITE"/xformers-*.dist-info
    BUILD_VERSION="$(cat "$SOURCES/xformers/version.txt")+selective" XFORMERS_SELECTIVE_BUILD=pt_stable_utils \
        XFORMERS_DISABLE_FLASH_ATTN=1 $PIP "$SOURCES/xformers" && echo "built xformers"
fi
