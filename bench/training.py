"""A training step beside a plain PyTorch loop over transformers: tokens per second and peak memory.

    python bench/training.py
    python bench/training.py --shape recurrentgemma --rounds 5

The same shape, sequence, batch and optimiser on both sides: bfloat16 autocast over float32 weights, fused AdamW, SDPA.
Each contestant is a process of its own; they run in turn, and the table shows medians over rounds. `--packed` adds the
same row cut into 64 documents (ours alone: transformers would pad). What is left to the reader: an idle machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from gemwright.bench.peers import FOLDER
from setup import TRANSFORMERS, set_up

HERE = Path(__file__).resolve().parent
FIELDS = ("width", "depth", "heads", "head_dim", "hidden", "vocab", "window")
SHAPES: dict[str, tuple[int, ...]] = {
    "gemma3-100m": (320, 12, 4, 128, 1280, 262_144, 512),
    "gemma3-10m": (256, 12, 4, 64, 768, 8192, 128),
    "recurrentgemma": (320, 12, 4, 80, 1280, 32_768, 512),
}


def main() -> None:
    """Run every comparison that is asked for, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, action="append", help="may be given again; default: all")
    parser.add_argument("--work", type=Path, default=FOLDER, help="environments (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="timed in a round, after one to warm up")
    parser.add_argument("--tokens", type=int, default=2048, help="of the sequence (%(default)s)")
    parser.add_argument("--packed", action="store_true", help="ours with the row cut into 64 documents, too")
    arguments = parser.parse_args()
    work = arguments.work.expanduser()
    set_up(work, [TRANSFORMERS])
    theirs = [str(work / TRANSFORMERS / "bin" / "python"), str(HERE / "peers" / "transformers_training.py")]
    ours = [sys.executable, str(HERE / "peers" / "own_training.py")]
    print("| shape | contestant | tokens/s | peak memory, GB | loss |\n| --- | --- | ---: | ---: | ---: |")
    for shape in arguments.shape or SHAPES:
        contestants = {"gemwright": (ours, 1), "transformers": (theirs, 1)}
        if arguments.packed:
            contestants["gemwright, 64 documents"] = (ours, 64)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
        for number in range(arguments.rounds):
            for name, (command, documents) in contestants.items():
                print(f"{shape}, round {number + 1} of {arguments.rounds}: {name}", file=sys.stderr, flush=True)
                found[name].append(measure(command, shape, arguments.tokens, arguments.steps, documents))
        report(shape, found)


def measure(command: list[str], shape: str, tokens: int, steps: int, documents: int) -> dict[str, Any]:
    """One round of one contestant."""
    family = "recurrentgemma" if shape.startswith("recurrent") else "gemma3"
    question = {
        **dict(zip(FIELDS, SHAPES[shape], strict=True)),
        "family": family,
        "tokens": tokens,
        "steps": steps,
        "documents": documents,
    }
    done = subprocess.run([*command, json.dumps(question)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[-1]} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def report(shape: str, found: dict[str, list[dict[str, Any]]]) -> None:
    """The rows of one shape, and the ratios to transformers."""
    speed = {name: statistics.median(one["tokens_per_second"] for one in rounds) for name, rounds in found.items()}
    peak = {name: max(one["peak"] for one in rounds) for name, rounds in found.items()}
    for name, rounds in found.items():
        print(f"| {shape} | {name} | {speed[name]:.0f} | {peak[name] / 1e9:.2f} | {rounds[-1]['loss']:.3f} |")
    against = "transformers"
    ratio, share = speed["gemwright"] / speed[against], peak["gemwright"] / peak[against]
    print(f"| {shape} | **to transformers** | **{ratio:.2f}×** | **{share:.2f}×** | |", flush=True)
    if "gemwright, 64 documents" in speed:
        print(f"| {shape} | 64 documents to one | {speed['gemwright, 64 documents'] / speed['gemwright']:.2f}× | | |")


if __name__ == "__main__":
    main()
