"""Decode and prefill beside transformers: one machine, one run, the contestants in turn, medians.

    python bench/beside_transformers.py --model gemma-3-1b --rounds 5
    python bench/beside_transformers.py --model recurrentgemma-2b --prefill 512 --decode 16

Makes a random bfloat16 checkpoint of the preset with transformers (once, in --work), starts both contestants as
processes of their own, and lets them run in turn. The machine's read bandwidth stands beside, and what share of it
each decode reaches. Prints a table; --json writes the figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Run the comparison, or one contestant of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="gemma-3-1b")
    parser.add_argument("--work", type=Path, default=Path("/tmp/gemwright-bench"))
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", choices=["gemwright", "transformers"])
    arguments = parser.parse_args()
    folder = arguments.work / arguments.model
    if arguments.worker:
        _work(arguments.worker, folder, arguments.threads)
        return
    if not (folder / "config.json").exists():
        _make(arguments.model, folder)
    _compare(arguments, folder)


def _make(name: str, folder: Path) -> None:
    """A random checkpoint, written by transformers from our config of the preset."""
    script = (
        "import sys, torch, transformers as t; from gemwright.arch.presets import preset; "
        "from gemwright.weights.hf_write import write; "
        "config = write(preset(sys.argv[1]), None, 'bfloat16'); config.pop('vision_config', None); "
        "config = t.AutoConfig.for_model(config.pop('model_type'), **config); torch.manual_seed(0); "
        "torch.set_default_dtype(torch.bfloat16); model = t.AutoModelForCausalLM.from_config(config); "
        "model.to(torch.bfloat16).save_pretrained(sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", script, name, str(folder)], check=True)


def _compare(arguments: argparse.Namespace, folder: Path) -> None:
    command = [sys.executable, __file__, "--model", arguments.model, "--work", str(arguments.work)]
    names = ("gemwright", "transformers")
    workers: dict[str, Any] = {}
    for name in names:
        process = subprocess.Popen(
            [*command, "--threads", str(arguments.threads), "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        workers[name] = process
        print(f"{name}: {_ask(process, 'load')['seconds']:.1f} s to load", file=sys.stderr)
    figures: dict[str, dict[str, list[float]]] = {name: {"prefill": [], "decode": []} for name in names}
    widths: list[float] = []
    for turn in range(arguments.rounds + 1):
        widths.append(_bandwidth(arguments.threads))
        for name in names if turn % 2 else names[::-1]:
            for kind, count in (("prefill", arguments.prefill), ("decode", arguments.decode)):
                seconds = _ask(workers[name], f"{kind} {count}")["seconds"]
                if turn:  # the first round warms up
                    figures[name][kind].append(count / seconds)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    for process in workers.values():
        process.stdin.close()
        process.wait()
    _report(arguments, figures, max(widths), size)


def _report(arguments: argparse.Namespace, figures: dict[str, dict[str, list[float]]], width: float, size: int) -> None:
    middle = {name: {kind: statistics.median(values) for kind, values in own.items()} for name, own in figures.items()}
    print(f"{arguments.model}, bfloat16, {arguments.threads} threads, {arguments.rounds} rounds; {width:.1f} GB/s read")
    print(f"{'':14}{f'prefill {arguments.prefill}':>14}{'decode':>10}{'weights':>12}{'of read':>9}   tokens/s, GB/s")
    for name, own in middle.items():
        rate = own["decode"] * size / 1e9
        print(f"{name:14}{own['prefill']:14.1f}{own['decode']:10.2f}{rate:12.1f}{rate / width:9.0%}")
    ratio = {kind: middle["gemwright"][kind] / middle["transformers"][kind] for kind in ("prefill", "decode")}
    print(f"{'ratio':14}{ratio['prefill']:13.2f}×{ratio['decode']:9.2f}×")
    if arguments.json:
        facts = {"model": arguments.model, "gigabytes_per_second": width, "tokens_per_second": figures, "ratio": ratio}
        arguments.json.write_text(json.dumps(facts, indent=1))


def _ask(process: Any, line: str) -> dict[str, float]:
    process.stdin.write(line + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"a contestant died on {line!r}")
    return json.loads(answer)


def _bandwidth(threads: int) -> float:
    """GB/s of the best of three sums over 1 GiB."""
    script = (
        "import sys, time, torch; torch.set_num_threads(int(sys.argv[1])); x = torch.ones(1 << 28); best = 0.0\n"
        "for _ in range(4):\n start = time.perf_counter(); x.sum(); "
        "best = max(best, x.nbytes / (time.perf_counter() - start) / 1e9)\nprint(best)"
    )
    out = subprocess.run([sys.executable, "-c", script, str(threads)], capture_output=True, text=True, check=True)
    return float(out.stdout)


def _work(name: str, folder: Path, threads: int) -> None:
    """One contestant: a line in, a line out."""
    import torch

    torch.set_num_threads(threads)
    contestant: Any = None
    for line in sys.stdin:
        kind, _, count = line.strip().partition(" ")
        start = time.perf_counter()
        if kind == "load":
            contestant = _Gemwright(folder) if name == "gemwright" else _Transformers(folder)
            seconds = time.perf_counter() - start
        else:
            seconds = getattr(contestant, kind)(int(count))
        print(json.dumps({"seconds": seconds}), flush=True)


def _prompt(count: int) -> list[int]:
    return [2, *(100 + 37 * index % 50_000 for index in range(count - 1))]


class _Gemwright:
    """The public engine."""

    def __init__(self, folder: Path) -> None:
        import gemwright as gw
        from gemwright.engine.request import Request

        self.request, self.sampling, self.lm = Request, gw.Sampling, gw.load(folder, context=4096)

    def prefill(self, count: int) -> float:
        start = time.perf_counter()
        self.lm.generate(_prompt(count), sampling=self.sampling(max_tokens=1, temperature=0, ignore_eos=True))
        return time.perf_counter() - start

    def decode(self, count: int) -> float:
        """The time of `count` more tokens behind a short prompt, the first not counted."""
        sampling = self.sampling(max_tokens=count + 1, temperature=0, ignore_eos=True)
        request = self.request(ids=tuple(_prompt(16)), sampling=sampling)
        times = [time.perf_counter() for _ in self.lm.engine.stream(request)]
        return times[count] - times[0]


class _Transformers:
    """Its own generate, at its faster attention (SDPA)."""

    def __init__(self, folder: Path) -> None:
        import torch
        import transformers

        self.torch = torch
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        self.model: Any = model.eval()

    def _generate(self, prompt: int, new: int) -> list[float]:
        times = [time.perf_counter()]

        def note(ids: Any, scores: Any) -> Any:
            times.append(time.perf_counter())
            return scores

        with self.torch.inference_mode():
            self.model.generate(
                self.torch.tensor([_prompt(prompt)]),
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=False,
                logits_processor=[note],
            )
        return times

    def prefill(self, count: int) -> float:
        start, first = self._generate(count, 1)[:2]
        return first - start

    def decode(self, count: int) -> float:
        times = self._generate(16, count + 1)[1:]
        return times[count] - times[0]


if __name__ == "__main__":
    main()
