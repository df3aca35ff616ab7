"""Finds the compiled kernels that this processor runs best. There may be none: a machine without a compiler."""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch  # its OpenMP must be loaded first, so that the kernels share its threads

from gemwright.ops.native import structs

# Best first: the library's name, the machine that it is for, and the flags that the system must report.
_X86 = ("x86_64", "AMD64")
_ARM = ("aarch64", "arm64")
_AVX2 = ("avx2", "fma", "f16c")
_AVX512 = (*_AVX2, "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni")
LEVELS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("avx512_bf16", _X86, (*_AVX512, "avx512_bf16")),
    ("avx512", _X86, _AVX512),
    ("avx2", _X86, _AVX2),
    ("neon", _ARM, ("asimddp", "asimdhp")),
    ("portable", (*_X86, *_ARM), ()),
)


def _flags() -> set[str]:
    """What the system says that the processor can do."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return {"asimddp", "asimdhp"}  # every one of Apple's has them
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split(":", 1)[1].split()}


def _file(level: str) -> Path | None:
    found = (Path(__file__).parent / f"_{level}{suffix}" for suffix in EXTENSION_SUFFIXES)
    return next((path for path in found if path.exists()), None)


def levels() -> list[str]:
    """The levels that were built and run here, best first."""
    machine, flags = platform.machine(), _flags()
    return [
        level
        for level, machines, needed in LEVELS
        if machine in machines and flags.issuperset(needed) and _file(level) is not None
    ]


@cache
def load(level: str) -> ctypes.CDLL:
    """The kernels of one level. Raises `OSError` where they cannot be loaded."""
    assert torch.__version__
    path = _file(level)
    if path is None:
        raise OSError(f"no kernels were built for {level}")
    library = ctypes.CDLL(str(path))
    structs.declare(library)
    return library


@cache
def best() -> ctypes.CDLL | None:
    """The kernels to use here; None where none were built."""
    for level in levels():
        try:
            return load(level)
        except OSError:  # built against another OpenMP, say: the next may do
            continue
    return None


def describe() -> str:
    """One line for people: which kernels run here, or what to do about their absence."""
    library = best()
    if library is None:
        return "no native kernels (they need a C++ compiler when the package is installed): slower, in torch"
    return f"native kernels: {library.gw_name().decode()}"
