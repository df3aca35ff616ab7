"""The native kernels against plain arithmetic (check.cpp), compiled for each kind of processor and run on it, or on an
emulated one."""

from __future__ import annotations

import platform
import re
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import setuptools

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="compilers and emulators of Linux")

Objects = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    """What setup.py says about compiling the kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **_: None)
        return runpy.run_path(str(ROOT / "setup.py"))


def compiler(machine: str) -> str:
    found = shutil.which(f"{machine}-linux-gnu-g++") or (machine == platform.machine() and shutil.which("g++"))
    return found or pytest.skip(f"no C++ compiler for {machine}")


def emulator(machine: str, processor: str) -> list[str]:
    name = f"qemu-{machine}"
    found = shutil.which(f"{name}-static") or shutil.which(name)
    return [found, "-cpu", processor] if found else pytest.skip(f"no {name}")


@pytest.fixture(scope="module")
def compiled(recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """(machine, level) → check.cpp compiled as setup.py compiles that level's kernels; `best` is for this machine."""
    folder = tmp_path_factory.mktemp("native")

    def compile_once(machine: str, level: str) -> Path:
        out = folder / f"{machine}-{level}.o"
        if not out.exists():
            flags = ["-march=native"] if level == "best" else recipe["LEVELS"][machine][level]
            source = [f"-I{ROOT / recipe['FOLDER']}", "-c", str(HERE / "check.cpp"), "-o", str(out)]
            succeed([compiler(machine), *recipe["FLAGS"], *flags, *source])
        return out

    return compile_once


def succeed(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, "\n".join([*command, *failures(done.stdout), done.stderr[-2000:]])
    return done.stdout


def failures(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("FAIL")]


def claims_hold(command: list[str], program: Path, name: str | None = None) -> None:
    """The program prints its level's name, then its claims."""
    lines = succeed([*command, str(program)]).splitlines()
    assert name in (None, lines[0])
    assert len(lines) > 120, "a claim for each format and each kernel"
    assert all(line.startswith("PASS") for line in lines[1:])


def link(machine: str, compiled: Path, *flags: str) -> Path:
    program = compiled.with_suffix("")
    succeed([compiler(machine), str(compiled), "-fopenmp", *flags, "-o", str(program)])
    return program


def test_kernels_equal_plain_arithmetic_on_this_machine(compiled: Objects) -> None:
    machine = platform.machine()
    claims_hold([], link(machine, compiled(machine, "best")))


@pytest.mark.soak
@pytest.mark.parametrize("level", ["avx2", "avx512_bf16"])
def test_another_compiler_accepts_every_line_too(level: str, recipe: dict[str, Any]) -> None:
    clang = shutil.which("clang++") or pytest.skip("no clang")
    flags = [*recipe["FLAGS"], *recipe["LEVELS"]["x86_64"][level], "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    folder = ROOT / recipe["FOLDER"]
    succeed([clang, "--target=x86_64-linux-gnu", *flags, f"-I{folder}", str(HERE / "check.cpp")])


EMULATED = (
    pytest.param("x86_64", "avx2", "Haswell", "AVX2", id="avx2"),
    pytest.param("aarch64", "neon", "max", "NEON", id="neon"),
    pytest.param("x86_64", "portable", "Nehalem", "portable", id="x86", marks=pytest.mark.soak),
    pytest.param("aarch64", "portable", "cortex-a53", "portable", id="arm", marks=pytest.mark.soak),
)


@pytest.mark.parametrize(("machine", "level", "processor", "name"), EMULATED)
def test_kernels_equal_plain_arithmetic_on_an_emulated(
    machine: str, level: str, processor: str, name: str, compiled: Objects
) -> None:
    command = emulator(machine, processor)
    claims_hold(command, link(machine, compiled(machine, level), "-static"), name)


@pytest.mark.parametrize(
    ("level", "registers"), [("avx2", "zmm"), pytest.param("portable", "[yz]mm", marks=pytest.mark.soak)]
)
def test_a_level_keeps_to_its_registers(level: str, registers: str, compiled: Objects) -> None:
    tool = shutil.which("x86_64-linux-gnu-objdump") or shutil.which("objdump")
    if tool is None:
        pytest.skip("no objdump")
    code = succeed([tool, "-d", str(compiled("x86_64", level))])
    assert "xmm" in code
    assert not re.search(f"%{registers}", code)
