"""Many requests at once: the server, the bare engine and llama.cpp's batches, one machine, one run, one command.

    python bench/serving.py
    python bench/serving.py --model gemma-3-270m --type q4_0 --tokens 16 --rounds 1 --history 1024 --threads 1

1. 8 requests of 512 + 128 tokens, greedy, prompts all different, answers that do not end sooner. The server is
   `gemwright serve`, over HTTP, streamed, a client's work included; it also keeps prompts for later, which the engine,
   called directly, does not. llama.cpp reads the prompts in batches of so many tokens and then draws for all sequences
   in every step, through its library: no server, no text, no sampler.
2. The step in which all of them draw, beside one sequence that draws alone behind such a prompt.
3. The first token of a chat's second turn over a long history, beside that of its first turn, which had to read it.

All take turns. Figures are medians of the rounds, ratios are taken within a round. Nothing speculates.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from checkpoints import TYPES, convert, make
from command import run, say

from gemwright.bench.contest import contest
from gemwright.bench.contestant import Contestant
from gemwright.bench.match import machine
from gemwright.bench.measures import Entry, Measure, crowd, decode, part, turns
from gemwright.bench.peers import FOLDER, read_peers
from gemwright.loading import open_checkpoint
from setup import HERE, LLAMA, TRANSFORMERS

SERVER, ENGINE = "server", "engine"
STEPS = (512, 2048)  # tokens that llama.cpp computes at once: its own choice, and four prompts
SHARE = 1.5  # bytes that a program may hold for each byte of the file


def main() -> None:
    """Run what is asked for, print it, and write it down."""
    given = _arguments()
    threads = given.threads or torch.get_num_threads()
    work = given.work.expanduser()
    folder = work / "models" / given.model
    file = folder.with_name(f"{given.model}-{given.type}.gguf")
    if not file.exists():
        make(given.model, folder, work / TRANSFORMERS / "bin" / "python")
        file = convert(folder, given.type)
    many = crowd(given.context, given.tokens, given.sequences)
    one = decode(given.tokens, given.context)
    field = _field(file, work, threads, given.context + given.tokens + 2, given.sequences)
    entries = contest(field, [many, one], rounds=given.rounds, say=say)
    facts = {"model": file.name, "threads": threads, "rounds": given.rounds, "sequences": given.sequences} | machine()
    print(f"**{file.name}**: {facts['cpu']}, {threads} threads, medians of {given.rounds} rounds\n")
    print("\n".join(_table(entries, many, one)), "\n")
    lines = _claims({entry.name: entry for entry in entries}, many, one)
    if given.history:
        later = turns(given.history)
        room = given.history + given.history // 10 + 256
        (server,) = contest([_server(file, threads, room, 2)], [later], rounds=given.turn_rounds, say=say)
        server.name = "server, turns"
        entries.append(server)
        lines.append(_sooner(server, later))
    print("\n".join(lines))
    tree = {"facts": facts, "seconds": {entry.name: entry.seconds for entry in entries}, "found": lines}
    tree["peak"] = {entry.name: entry.peak for entry in entries}
    out = work / "results" / f"serving-{file.stem}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")


def _field(file: Path, work: Path, threads: int, context: int, sequences: int) -> list[Contestant]:
    """Who takes part."""
    common = {"path": str(file), "threads": threads, "context": context}
    size = int(SHARE * file.stat().st_size)
    command = (sys.executable, "-m", "gemwright.bench.worker")
    found = [
        _server(file, threads, context, sequences),
        Contestant(name=ENGINE, command=command, load=common, bytes=size),
    ]
    peer = read_peers(work)[LLAMA]
    program = (peer.command[0], str(HERE / "llama_worker.py"))  # this checkout's
    for step in STEPS:
        load = {**common, **peer.load, "step": step}
        found.append(Contestant(name=f"{LLAMA}, {step:,} at once", command=program, load=load, bytes=size))
    return found


def _server(file: Path, threads: int, context: int, sequences: int) -> Contestant:
    load = {"path": str(file), "threads": threads, "context": context, "sequences": sequences}
    load |= {"vocab": open_checkpoint(file).spec.vocab, "settings": ["--speculate", "off"]}
    command = (sys.executable, "-m", "gemwright.bench.served")
    return Contestant(name=SERVER, command=command, load=load, bytes=int(SHARE * file.stat().st_size))


def _table(entries: Sequence[Entry], many: Measure, one: Measure) -> list[str]:
    """Tokens per second of each contestant, as Markdown."""
    sequences, tokens = many.ask["sequences"], many.ask["tokens"]
    rows = [
        f"| | {many.name}: read and drawn | drawn | while all draw | one alone | all / one |",
        "|---" + 5 * "|---:" + "|",
    ]
    for entry in entries:
        whole, step = (statistics.median(entry.seconds[part(many, name)]) for name in ("seconds", "step"))
        alone = statistics.median(entry.seconds[one.name])
        figures = [many.tokens / whole, sequences * tokens / whole, sequences / step, one.tokens / alone]
        cells = [f"{figure:,.1f}" for figure in figures] + [f"{_gain(entry, many, one):.2f}"]
        rows.append(f"| {entry.name} | {' | '.join(cells)} |")
    return rows


def _gain(entry: Entry, many: Measure, one: Measure) -> float:
    """How many times one sequence's speed all have together, while all draw."""
    steps, alone = entry.seconds[part(many, "step")], entry.seconds[one.name]
    sequences = many.ask["sequences"]
    return statistics.median(sequences * lone / one.tokens / step for step, lone in zip(steps, alone, strict=True))


def _claims(entries: dict[str, Entry], many: Measure, one: Measure) -> list[str]:
    """What the table is for, beside what is asked for."""
    whole = {name: entry.seconds[many.name] for name, entry in entries.items()}
    peers = [name for name in entries if name.startswith(LLAMA)]
    best = min(peers, key=lambda name: statistics.median(whole[name]))
    cost = _ratio(whole[SERVER], whole[ENGINE]) - 1
    return [
        f"server / {best}, all tokens: {_ratio(whole[best], whole[SERVER]):.2f} (asked for: 2.5 or more)",
        f"server, all that draw / one alone: {_gain(entries[SERVER], many, one):.2f} (asked for: 4 or more)",
        f"server's cost over the engine: {cost:+.1%} (asked for: 5% or less)",
    ]


def _sooner(server: Entry, later: Measure) -> str:
    known, unread = server.seconds[later.name], server.seconds[part(later, "unread")]
    seconds = f"{statistics.median(known):.3f} s after {statistics.median(unread):.2f} s"
    return (
        f"first token, {later.name} tokens: {seconds}, {_ratio(unread, known):.1f} times sooner (asked for: 20 or more)"
    )


def _ratio(some: Sequence[float], other: Sequence[float]) -> float:
    """The median over the rounds."""
    return statistics.median(a / b for a, b in zip(some, other, strict=True))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gemma-3-1b", help="a preset (%(default)s)")
    parser.add_argument("--type", choices=[kind for kind in TYPES if kind != "bf16"], default="q8_0")
    parser.add_argument("--work", type=Path, default=FOLDER, help="environments, checkpoints, results (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--context", type=int, default=512, help="tokens of a prompt (%(default)s)")
    parser.add_argument("--tokens", type=int, default=128, help="drawn tokens of each answer (%(default)s)")
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--history", type=int, default=16384, help="tokens before a second turn; 0: no such measure")
    parser.add_argument("--turn-rounds", type=int, default=2, help="of the second turns; each reads a history")
    parser.add_argument("--threads", type=int, help="default: torch's choice")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
