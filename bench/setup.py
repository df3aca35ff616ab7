"""The peers, each in an environment of its own, ready for `gemwright bench --against` and for bench/table.py.

    python bench/setup.py [--work DIR] [--only llama.cpp]

llama.cpp is compiled for this very machine (minutes); it needs a C++ compiler and cmake. transformers borrows torch
from the environment that runs this script, so that both compute with the same build of it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from gemwright.bench.peers import FILE, FOLDER, Peer, read_peers, write_peers

HERE = Path(__file__).resolve().parent / "peers"
LLAMA, TRANSFORMERS = "llama.cpp", "transformers"
PROGRAMS = (TRANSFORMERS, LLAMA)
TRANSFORMERS_VERSION = "5.23.0"
LLAMA_BUILD = {
    "CMAKE_ARGS": "-DGGML_NATIVE=ON -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF "
    "-DLLAMA_BUILD_TOOLS=OFF -DLLAVA_BUILD=OFF",
    "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
}


def main() -> None:
    """Set up what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=FOLDER, help="folder of the environments (%(default)s)")
    parser.add_argument("--only", choices=PROGRAMS, action="append", help="may be given again; default: all")
    arguments = parser.parse_args()
    for peer in set_up(arguments.work.expanduser(), arguments.only or PROGRAMS):
        print(peer.name)


def set_up(work: Path, programs: list[str] | tuple[str, ...] = PROGRAMS) -> list[Peer]:
    """Makes the environments of these programs where they are missing, and lists them in `work`/peers.json beside those
    that are there; gives the former back."""
    peers: list[Peer] = []
    if TRANSFORMERS in programs:
        python = _transformers(work / "transformers")
        command = (str(python), str(HERE / "transformers_worker.py"))
        peers.append(Peer(name=TRANSFORMERS, command=command, reads="folder", load={}))
    if LLAMA in programs:
        python = _llama(work / "llama")
        command = (str(python), str(HERE / "llama_worker.py"))
        for name, flash in ((LLAMA, True), (f"{LLAMA}-noflash", False)):
            peers.append(Peer(name=name, command=command, reads="gguf", load={"flash": flash}))
    before = read_peers(work / FILE) if (work / FILE).exists() else {}
    write_peers(work / FILE, list((before | {peer.name: peer for peer in peers}).values()))
    return peers


def _transformers(folder: Path) -> Path:
    python = _environment(folder)
    if not _has(python, "import transformers, torch"):
        borrowed = next(folder.glob("lib/python*/site-packages")) / "borrowed.pth"
        borrowed.write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
        _pip(python, [f"transformers=={TRANSFORMERS_VERSION}"])
    return python


def _llama(folder: Path) -> Path:
    python = _environment(folder)
    if not _has(python, "import llama_cpp, numpy"):
        print("compiling llama.cpp; this takes minutes", file=sys.stderr)
        _pip(python, ["numpy"])
        _pip(python, ["--no-binary", "llama-cpp-python", "llama-cpp-python"], LLAMA_BUILD)
    return python


def _environment(folder: Path) -> Path:
    """The interpreter of the environment in this folder, which is made if it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return python


def _has(python: Path, code: str) -> bool:
    return subprocess.run([str(python), "-c", code], capture_output=True, check=False).returncode == 0


def _pip(python: Path, words: list[str], variables: dict[str, str] | None = None) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words]
    subprocess.run(command, check=True, env={**os.environ, **(variables or {})})


if __name__ == "__main__":
    main()
