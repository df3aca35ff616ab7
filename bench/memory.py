"""Memory: the plan beside the measured peak, and the reports' claims in measured bytes.

    python bench/memory.py run FOLDER --context 4096      load, prefill, decode; the peak beside the plan
    python bench/memory.py long --tokens 131072           a small Gemma 3 prefills in chunks; logits beside one pass
    python bench/memory.py claim                          the 2B shape at 32K: 5:1 with window 1024, and global only

Peaks are RssAnon above `import torch` and one warm-up product, sampled every 5 ms.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from gemwright.planner.measure import PeakMemory, baseline, resident

START = baseline()

import torch  # noqa: E402

import gemwright as gw  # noqa: E402
from gemwright.arch.presets import preset  # noqa: E402
from gemwright.arch.spec import Attention, Model  # noqa: E402
from gemwright.cache.allocate import allocate  # noqa: E402
from gemwright.nn.decoder import Decoder  # noqa: E402
from gemwright.nn.head import Head  # noqa: E402
from gemwright.nn.init import initialise  # noqa: E402
from gemwright.ops.span import span  # noqa: E402


def main() -> None:
    """Pick the measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    run = kinds.add_parser("run")
    run.add_argument("folder", type=Path)
    run.add_argument("--context", type=int, default=4096)
    run.add_argument("--decode", type=int, default=16)
    long = kinds.add_parser("long")
    long.add_argument("--tokens", type=int, default=131_072)
    long.add_argument("--chunk", type=int, default=512)
    kinds.add_parser("claim")
    arguments = parser.parse_args()
    if arguments.kind == "run":
        _run(arguments.folder, arguments.context, arguments.decode)
    elif arguments.kind == "long":
        _long(arguments.tokens, arguments.chunk)
    else:
        _claim()


def _beside(planned: int, peak: int) -> str:
    bound = max(0.05 * planned, 32 * 2**20)
    off, verdict = (peak - planned) / 1e6, "within" if abs(planned - peak) <= bound else "BEYOND"
    return f"plan {planned / 1e6:.1f} MB, peak {peak / 1e6:.1f} MB: off by {off:+.1f}, {verdict} the bound"


def _run(folder: Path, context: int, decode: int) -> None:
    with PeakMemory(START) as memory:
        lm = gw.load(folder, context=context)
        lm.engine  # noqa: B018 (allocates the cache)
        ids = [2, *(100 + 37 * index % 50_000 for index in range(context - decode - 1))]
        lm.generate(ids, sampling=gw.Sampling(max_tokens=decode, temperature=0, ignore_eos=True))
    planned = gw.plan(folder, context=context, batch=1)  # last: planning itself imports modules that a run does not
    print(
        f"{folder.name} at {context} tokens: {_beside(planned.total, memory.peak)}; mapped {memory.mapped / 1e6:.1f} MB"
    )


def _small() -> Model:
    """Twelve layers, both RoPE bases, the factor of 8, a window of 512: small enough for 128K tokens here."""
    return preset(
        "gemma-3-4b", width=128, depth=12, heads=2, kv_heads=1, head_dim=64, hidden=256, vocab=512, window=512
    )


def _long(tokens: int, chunk: int) -> None:
    spec = _small()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, spec.vocab, (tokens,), generator=generator)

    def last(hidden: torch.Tensor, head: Head) -> torch.Tensor:
        return head.logits(hidden[-1:])

    began = time.perf_counter()
    with PeakMemory(START) as memory, torch.inference_mode():
        model = Decoder(spec)
        initialise(model, generator)
        cache = allocate(spec, sequences=1, tokens=tokens, dtype=torch.float32)
        handle = cache.open()
        for part in ids.split(chunk):
            step = cache.prepare([handle], [len(part)])
            logits = model(part, step.span, step, last)
            step.commit()
    seconds = time.perf_counter() - began
    planned = gw.plan(spec, context=tokens, batch=1, chunk=chunk, dtype="float32")
    print(f"{tokens} tokens in chunks of {chunk}, {seconds:.0f} s: {_beside(planned.total, memory.peak)}")
    with torch.inference_mode():
        whole = model(ids, span([tokens]), None, last)
    difference = float((logits - whole).abs().max() / whole.std())
    print(f"last row, in chunks against one pass: {difference:.1e} of the logits' standard deviation")


def _global_only(spec: Model) -> Model:
    """The same model with every layer global."""

    def layer(index: int) -> Attention:
        mixer = spec.layers[index].mixer
        assert isinstance(mixer, Attention)
        return dataclasses.replace(mixer, window=None)

    layers = tuple(dataclasses.replace(old, mixer=layer(index)) for index, old in enumerate(spec.layers))
    return dataclasses.replace(spec, layers=layers)


def _claim() -> None:
    sizes = {"width": 2304, "depth": 26, "heads": 8, "kv_heads": 4, "hidden": 9216, "vocab": 256_000, "window": 1024}
    spec = preset("gemma-3-1b", **sizes)
    with torch.device("meta"):
        model = Decoder(spec)
    before = resident()[0]
    model = model.to(torch.bfloat16).to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.zero_()
    weights = resident()[0] - before
    print(f"2B shape in bfloat16: weights {weights / 1e9:.2f} GB")
    for name, variant in (("5 local to 1 global, window 1024", spec), ("global only", _global_only(spec))):
        before = resident()[0]
        cache = allocate(variant, sequences=1, tokens=32_768, slack=8, dtype=torch.bfloat16)
        for store in cache.stores:
            for tensor in (store.keys, store.values):  # type: ignore[attr-defined]
                tensor.zero_()
        bytes_ = resident()[0] - before
        print(f"  cache at 32,768 tokens, {name}: {bytes_ / 1e9:.3f} GB, {bytes_ / weights:.1%} of the weights")
        del cache, store, tensor
    for name in ("gemma-3-12b",):
        planned = gw.plan(name, context=131_072, batch=1)
        cache, full = planned.cache_bytes / 1e9, planned.all_full / 1e9
        print(f"{name} at 131,072 tokens, by plan: {cache:.2f} GB against {full:.2f}")


if __name__ == "__main__":
    main()
