"""How decoding slows with the length of the past: RecurrentGemma 2B beside Gemma 1 2B, the claim of Griffin's report.

    python bench/long_decode.py --quant q8_0 --plot long.png

Weights are random: speed does not ask what they say. For each model a past is read, and forked at each length; then all
forks of all models draw in turn, round by round, so that a machine whose speed drifts favours none. Medians are printed
and written as JSON. A line at the end tells by how much a token slows between the first length and the last, and how
much of that the bytes of the cache explain.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from gemwright.arch.presets import preset
from gemwright.bench.bandwidth import read_bandwidth
from gemwright.bench.worker import weight_bytes
from gemwright.cache.allocate import allocate
from gemwright.cache.store import Handle
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.quant.scheme import scheme
from gemwright.quant.swap import swap

CHUNK = 512


def main() -> None:
    """Measure, print, write, plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", action="append", help="presets; default: recurrentgemma-2b and gemma-2b")
    parser.add_argument("--length", type=int, action="append", help="tokens before; default: 0, 2048, 8192 and 32768")
    parser.add_argument("--quant", default="q8_0")
    parser.add_argument("--int8-cache", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=16, help="drawn in a round")
    parser.add_argument("--out", type=Path, default=Path("long_decode.json"))
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    runs = [Run(name, arguments) for name in arguments.model or ("recurrentgemma-2b", "gemma-2b")]
    for _ in range(arguments.rounds):
        for run in runs:
            run.round()
    found = {run.name: run.rows() for run in runs}
    for name, rows in found.items():
        report(name, rows)
    print(f"the machine reads {read_bandwidth():.1f} GB/s")
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if arguments.plot:
        draw(found, arguments.plot)


class Run:
    """One model, and a fork of its past at each length."""

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        self.name, self._tokens = name, arguments.tokens
        spec = preset(name)
        spare = arguments.rounds * arguments.tokens + 2
        most = spec.context if spec.context and "recurrent" not in spec.kinds else None
        wanted = arguments.length or (0, 2048, 8192, 32768)
        lengths = sorted({length if most is None else min(length, most - spare) for length in wanted})
        with torch.device("meta"):
            model = Decoder(spec)
        model = model.to(torch.bfloat16).to_empty(device="cpu")
        initialise(model, torch.Generator().manual_seed(0))
        swap(model.eval(), scheme(arguments.quant))
        size = {"sequences": len(lengths) + 1, "tokens": max(lengths) + spare}
        self._model, self._bytes = model, weight_bytes(model)
        self._memory = allocate(spec, dtype=model.dtype, int8=arguments.int8_cache, **size)
        handle = self._memory.open()
        self._held: dict[int, Handle] = {}
        for length in lengths:
            while handle.length < length:
                self._advance(handle, min(CHUNK, length - handle.length))
            self._held[length] = self._memory.fork(handle)
            self._advance(self._held[length], 1)
            print(f"{name} {arguments.quant}: {length} tokens read", flush=True)
        self._times: dict[int, list[float]] = {length: [] for length in lengths}

    def round(self) -> None:
        """Draw behind every length."""
        for length, handle in self._held.items():
            begin = time.perf_counter()
            for _ in range(self._tokens):
                self._advance(handle, 1)
            self._times[length].append((time.perf_counter() - begin) / self._tokens)

    def rows(self) -> list[dict[str, float]]:
        """For each length: the median seconds of a token, and the bytes that it reads."""
        used = {length: sum(self._memory.bytes_used(handle).values()) for length, handle in self._held.items()}
        return [
            {"length": length, "seconds": statistics.median(times), "bytes": self._bytes + used[length]}
            for length, times in self._times.items()
        ]

    def _advance(self, handle: Handle, count: int) -> None:
        ids = torch.randint(10, self._model.spec.vocab, (count,))
        step = self._memory.prepare([handle], [count])
        with torch.inference_mode():
            self._model(ids, step.span, memory=step, use=lambda hidden, head: head.logits(hidden[-1:]).argmax())
        step.commit()


def report(name: str, rows: list[dict[str, float]]) -> None:
    """The rates, and what a long past costs."""
    for row in rows:
        print(f"{name}: {1 / row['seconds']:6.2f} tokens/s behind {row['length']}")
    first, last = rows[0], rows[-1]
    slower, more = last["seconds"] / first["seconds"], last["bytes"] / first["bytes"]
    print(
        f"{name}: behind {last['length']} a token takes {slower:.3f} times as long and reads {more:.3f} times the bytes"
    )


def draw(found: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Tokens a second over the length of the past."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, rows in found.items():
        axes.plot([row["length"] for row in rows], [1 / row["seconds"] for row in rows], "o-", label=name)
    axes.set_xlabel("tokens before")
    axes.set_ylabel("tokens a second")
    axes.set_ylim(bottom=0)
    axes.set_title("Decoding behind a growing past")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
