"""The native kernels: one source, compiled for each kind of processor. A machine without a compiler goes without."""

import platform

from setuptools import Extension, setup

FLAGS = ["-std=c++17", "-O3", "-fopenmp", "-ffp-contract=off", "-fno-math-errno", "-Wno-psabi"]
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"]
X86 = {"portable": [], "avx2": AVX2, "avx512": AVX512, "avx512_bf16": [*AVX512, "-mavx512bf16"]}
ARM = {"portable": [], "neon": ["-march=armv8.2-a+dotprod+fp16"]}
LEVELS = {"x86_64": X86, "AMD64": X86, "aarch64": ARM, "arm64": ARM}
FOLDER = "gemwright/ops/native"
HEADERS = [
    f"{FOLDER}/source/{name}.h"
    for name in (
        *("attend", "attend_all", "attend_grad", "draw", "kernels", "layout", "lossless", "low_rank", "matrix"),
        *("quantise", "recurrent", "recurrent_grad", "simd", "team", "training", "weave"),
    )
]

setup(
    ext_modules=[
        Extension(
            f"gemwright.ops.native._{level}",
            [f"{FOLDER}/{level}.cpp"],
            depends=HEADERS,
            extra_compile_args=[*FLAGS, *flags],
            extra_link_args=["-fopenmp"],
            language="c++",
            optional=True,
        )
        for level, flags in LEVELS.get(platform.machine(), {}).items()
    ]
)
