"""A whole comparison on this machine: who takes part, what is asked, and the bandwidth of the same run."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import gemwright
from gemwright.bench.bandwidth import read_bandwidth
from gemwright.bench.contest import contest
from gemwright.bench.contestant import Contestant
from gemwright.bench.measures import Measure, batch, decode, longest, prefill
from gemwright.bench.peers import Peer
from gemwright.bench.protocol import SHORT
from gemwright.bench.table import Result
from gemwright.errors import UserError
from gemwright.loading import open_checkpoint

_OURS = "gemwright"
_IN_MEMORY = 1.5  # bytes that a program may hold for each byte of its files: a mapped file and a packed copy of most
_BLOCK = 1 << 24


def questions(
    prefills: Sequence[int], drawn: int, sequences: int, *, long: int | None = None, limit: int | None = None
) -> tuple[list[Measure], list[str]]:
    """The measures, and notes on those that are left out because the model was made for `limit` tokens only.

    `prefills`: lengths of prompts. `drawn`: tokens to draw, half as many of each sequence of a batch. `sequences`: of
    the batch; below 2: none. `long`: the length of a prompt behind which to draw tokens too.
    """
    wanted = [prefill(tokens) for tokens in dict.fromkeys(prefills)] + [decode(drawn)]
    if sequences > 1:
        wanted.append(batch(max(1, drawn // 2), sequences))
    if long is not None:
        wanted.append(decode(max(1, drawn // 4), long))
    kept = [measure for measure in wanted if limit is None or _tokens(measure) <= limit]
    notes = [f"{measure.name} is left out: the model was made for {limit} tokens" for measure in wanted]
    return kept, [note for measure, note in zip(wanted, notes, strict=True) if measure not in kept]


def _tokens(measure: Measure) -> int:
    """Tokens of the longest sequence of a measure."""
    ask = measure.ask
    return 2 * (SHORT + ask["sequences"]) + ask["tokens"] if ask["do"] == "batch" else longest([measure])


def context_of(model: Path) -> int | None:
    """Tokens that a model on the disk was made for; None: any number."""
    return open_checkpoint(model).spec.context


def compare(
    model: Path,
    measures: Sequence[Measure],
    *,
    rounds: int,
    quant: str | None = None,
    int8_cache: bool = False,
    peers: Sequence[Peer] = (),
    folder: Path | None = None,
    gguf: Path | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Result:
    """Measures this project on `model` (a folder or a file) and each peer on the same model in the form it reads.

    `quant`: how our loader is to store the matrices; `int8_cache`: whether our cache is to hold bytes. `folder`,
    `gguf`: the model in another form, for peers that cannot read `model`. All compute with as many threads as torch
    does here. Every file is read once beforehand, so that nobody pays for the disk. Raises `UserError` for a peer
    without a file, and for whatever stops a contestant.
    """
    if not measures:
        raise UserError("there is nothing to measure", hint="ask for shorter prompts, or for less")
    threads = torch.get_num_threads()
    common = {"threads": threads, "context": longest(measures)}
    own = {"path": str(model), **common, "quant": quant, "int8_cache": int8_cache}
    command = (sys.executable, "-m", "gemwright.bench.worker")
    contestants = [Contestant(name=_OURS, command=command, load=own, bytes=_memory(model))]
    files: dict[Path, None] = {model: None}
    for peer in peers:
        path = _form(peer, model, folder, gguf)
        files[path] = None
        load = {"path": str(path), **common, **peer.load}
        contestants.append(Contestant(name=peer.name, command=peer.command, load=load, bytes=_memory(path)))
    say("measuring the machine's bandwidth")
    bandwidth = read_bandwidth()
    for path in files:  # last, for some systems soon forget what nobody reads
        say(f"reading {path.name}")
        _read_through(path)
    entries = contest(contestants, measures, rounds=rounds, say=say)
    say("measuring the machine's bandwidth again")
    bandwidth = max(bandwidth, read_bandwidth())
    facts = {"model": model.name, "quant": quant, "int8_cache": int8_cache, "threads": threads, "rounds": rounds}
    facts |= machine()
    return Result(entries=entries, measures=measures, bandwidth=bandwidth, facts=facts)


def _form(peer: Peer, model: Path, folder: Path | None, gguf: Path | None) -> Path:
    """The file or folder that a peer reads."""
    if peer.reads == "gguf":
        path = model if model.suffix == ".gguf" else gguf
        hint = "give one by --gguf FILE (gemwright convert writes it)"
    else:
        path = model if model.is_dir() else folder
        hint = "give the model's Hugging Face folder by --folder"
    if path is None:
        raise UserError(f"{peer.name} cannot read {model}", hint=hint)
    if not path.exists():
        raise UserError(f"{path} does not exist", hint="check the path")
    return path


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.safetensors")) if path.is_dir() else [path]


def _memory(path: Path) -> int:
    """Bytes that a program which runs this model may hold."""
    return int(_IN_MEMORY * sum(file.stat().st_size for file in _files(path)))


def _read_through(path: Path) -> None:
    """Brings the files into the system's memory, where it has room."""
    block = bytearray(_BLOCK)
    for file in _files(path):
        with file.open("rb", buffering=0) as data:
            while data.readinto(block):
                pass


def machine() -> dict[str, Any]:
    """What the numbers depend on besides the programs."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gemwright": gemwright.__version__,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
