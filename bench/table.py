"""The measured tables: this project beside transformers and llama.cpp, one machine, one run, one command.

    python bench/table.py
    python bench/table.py --model gemma-3-1b --type q4_0 --rounds 3 --long 32768

Sets the peers up, makes random checkpoints of published shapes, writes GGUF files from them, lets all contestants run
in turn, and leaves a JSON file, a plot and a Markdown table for each model and type in `results` of the work folder.
With bf16 ours and transformers read the checkpoint's folder, llama.cpp its GGUF; the other types are one GGUF file for
both programs that read it. What is left to the reader: an idle machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from checkpoints import TYPES, convert, has_gguf, make
from command import run, say

from gemwright.bench import match, table
from gemwright.bench.peers import FOLDER, Peer
from gemwright.bench.plot import check, plot
from setup import TRANSFORMERS, set_up

MODELS = ("gemma-3-1b", "gemma-2-2b", "recurrentgemma-2b")


def main() -> None:
    """Run every comparison that is asked for."""
    arguments = _arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    work = arguments.work.expanduser()
    results = work / "results"
    results.mkdir(parents=True, exist_ok=True)
    check(results / "speed.png")
    peers = set_up(work)
    for name in arguments.model or MODELS:
        folder = work / "models" / name
        say(f"making {folder}")
        make(name, folder, work / TRANSFORMERS / "bin" / "python")
        for kind in arguments.type or TYPES:
            if kind == "bf16" or has_gguf(name):
                _compare(arguments, name, folder, kind, peers, results / f"{name}-{kind}")


def _compare(arguments: argparse.Namespace, name: str, folder: Path, kind: str, peers: list[Peer], out: Path) -> None:
    """One table, printed and written to `out`.json, .png and .md."""
    gguf = convert(folder, kind) if has_gguf(name) else None
    plain = kind == "bf16"
    model = folder if plain else gguf
    assert model is not None, "only bf16 does without a GGUF file"
    able = [peer for peer in peers if (gguf is not None if peer.reads == "gguf" else plain)]
    measures, notes = match.questions(
        arguments.prefill or (512, 2048),
        arguments.decode,
        arguments.batch,
        long=arguments.long,
        limit=match.context_of(model),
    )
    for note in notes:
        say(note)
    result = match.compare(model, measures, rounds=arguments.rounds, peers=able, gguf=gguf, say=say)
    out.with_name(f"{out.name}.json").write_text(json.dumps(table.to_json(result), indent=1) + "\n", encoding="utf-8")
    plot(result, out.with_name(f"{out.name}.png"))
    facts = result.facts
    lines = [f"**{name}, {kind}**: {facts['cpu']}, {facts['threads']} threads, medians of {facts['rounds']} rounds."]
    text = "\n".join([*lines, "", table.markdown(result), *table.remarks(result)]) + "\n"
    out.with_name(f"{out.name}.md").write_text(text, encoding="utf-8")
    print(text, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", help=f"a preset; may be given again; default: {', '.join(MODELS)}")
    parser.add_argument("--type", choices=TYPES, action="append", help="may be given again; default: all")
    parser.add_argument("--work", type=Path, default=FOLDER, help="environments, checkpoints, results (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prefill", type=int, action="append", help="tokens of a prompt; default: 512 and 2048")
    parser.add_argument("--decode", type=int, default=32, help="tokens to draw in a round (%(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="sequences that draw together (%(default)s)")
    parser.add_argument("--long", type=int, help="draw behind a prompt of that many tokens too")
    parser.add_argument("--threads", type=int, help="default: torch's choice")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
