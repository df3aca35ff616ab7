"""Adapters beside the weights: each row of a step has its own, and knows nothing of the others'."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import small
import torch
from equivalence import LOGITS, equivalence, off, same_bits
from hypothesis import given
from hypothesis import strategies as st
from small import needs_kernels
from torch import Tensor

from gemwright import lora
from gemwright.cache.allocate import Cache, allocate
from gemwright.engine.engine import Engine
from gemwright.engine.progress import Session
from gemwright.engine.request import Completion, Request, Sampling
from gemwright.nn.adapters import Adapters
from gemwright.nn.decoder import Decoder
from gemwright.nn.linear import Linear
from gemwright.ops.low_rank import Adapter, LowRank
from gemwright.quant import swap as swapping
from gemwright.quant.scheme import SCHEMES
from gemwright.quant.swap import swap

VOCAB = small.VOCAB
SPECS = small.NATIVE
NAMES = ("red", "blue", "thin")
SCHEMES_HERE = ("bf16", "q8_0", "q4_0")
LAST = 100  # tokens that a sequence may have


def linears(spec: str) -> dict[str, tuple[int, int]]:
    """The adaptable modules: outputs and inputs."""
    with torch.device("meta"):
        model = Decoder(SPECS[spec])
    return {path: (m.out_features, m.in_features) for path, m in model.named_modules() if isinstance(m, Linear)}


@cache
def adapter(spec: str, name: str, size: float = 0.2) -> Adapter:
    """Ranks, scales and targets that differ from module to module; "thin" has rank 1 on few."""
    draw, generator = random.Random(f"{spec} {name}"), torch.Generator().manual_seed(NAMES.index(name))
    modules = {}
    for path, (outputs, inputs) in linears(spec).items():
        if draw.random() < (0.8 if name == "thin" else 0.2):
            continue
        rank = 1 if name == "thin" else draw.randint(1, 9)
        modules[path] = LowRank(
            a=torch.randn(rank, inputs, generator=generator) / inputs**0.5,
            b=size * torch.randn(outputs, rank, generator=generator),
            alpha=draw.choice([1.0, 6.0, 16.0]) * rank / 8,
            rslora=name == "blue",
        )
    return Adapter(modules=modules, dropout=0.0, base=None)


@cache
def held(spec: str) -> Adapters:
    """All of them, and a number that was given up and taken again."""
    adapters = Adapters(SPECS[spec], "cpu")
    adapters.add("gone", adapter(spec, "red"))
    adapters.add(NAMES[0], adapter(spec, NAMES[0]))
    adapters.remove("gone")
    for name in NAMES[1:]:
        adapters.add(name, adapter(spec, name))
    return adapters


@cache
def plain(spec: str, dtype: torch.dtype = torch.float32) -> Decoder:
    return small.awake(SPECS[spec], dtype)


@cache
def packed(spec: str, scheme: str) -> Decoder:
    """A model whose blocks run in native calls."""
    model = small.awake(SPECS[spec], torch.bfloat16)
    swap(model, SCHEMES[scheme])
    return model


@cache
def unfused(spec: str, scheme: str) -> Decoder:
    """The same matrices in blocks of modules, to which torch adds the addends."""
    model = small.awake(SPECS[spec], torch.bfloat16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swapping, "can_run", lambda block: False)
        swap(model, SCHEMES[scheme])
    return model


@cache
def text(seed: int, tokens: int) -> Tensor:
    return small.text(seed, tokens)


def run(
    model: Decoder,
    adapters: Adapters,
    memory: Cache,
    texts: Sequence[Tensor],
    handles: list[Any],
    names: list[Any],
    wanted: Tensor | None = None,
) -> list[Tensor]:
    """One ragged step, each text with its adapter → logits of each text's rows, or of the wanted ones, together."""
    counts = [len(some) for some in texts]
    step = memory.prepare(handles, counts)
    chosen = adapters.chosen([adapters.find(name) for name in names], counts)
    with torch.no_grad():
        use = lambda hidden, head: head.logits(hidden)  # noqa: E731
        rows = model(torch.cat(list(texts)), step.span, memory=step, use=use, adapters=chosen, rows=wanted)
    step.commit()
    return list(rows.split(counts)) if wanted is None else [rows]


def alone(model: Decoder, adapters: Adapters, some: Tensor, name: str | None) -> Tensor:
    memory = allocate(model.spec, sequences=1, tokens=LAST, dtype=model.dtype)
    return run(model, adapters, memory, [some], [memory.open()], [name])[0]


def merged(spec: str, name: str) -> Decoder:
    """A model of float32 with LoRA modules in place of its matrices."""
    model = small.awake(SPECS[spec])
    lora.adopt(model, adapter(spec, name), torch.Generator())
    return model.eval()


models = st.sampled_from([(spec, scheme) for spec in SPECS for scheme in SCHEMES_HERE])


@needs_kernels
@equivalence("rows with adapters, chunked, beside others with other adapters or none = alone in one pass", "bit")
@given(
    model=models,
    cuts=st.lists(st.lists(st.integers(0, 14), min_size=4, max_size=4), min_size=1, max_size=4),
    order=st.permutations([None, *NAMES]),
)
def test_mixed(model: tuple[str, str], cuts: list[list[int]], order: list[str | None]) -> None:
    decoder, adapters = packed(*model), held(model[0])
    memory = allocate(decoder.spec, sequences=4, tokens=LAST, dtype=decoder.dtype)
    handles, done = [memory.open() for _ in order], [0] * 4
    texts = [text(seed, 4 * 14) for seed in range(4)]
    out: list[list[Tensor]] = [[] for _ in order]
    for cut in cuts:
        who = [index for index in range(4) if cut[index]]
        parts = [texts[index][done[index] : done[index] + cut[index]] for index in who]
        if not who:
            continue
        for index, rows in zip(
            who, run(decoder, adapters, memory, parts, [handles[i] for i in who], [order[i] for i in who]), strict=True
        ):
            out[index].append(rows)
            done[index] += cut[index]
    for index, name in enumerate(order):
        if done[index]:
            whole = alone(decoder, adapters, texts[index][: done[index]], name)
            assert same_bits(torch.cat(out[index]), whole)


@needs_kernels
@equivalence("the rows that are wanted of a step with adapters = these rows of all", "bit")
@pytest.mark.parametrize("scheme", SCHEMES_HERE)
@pytest.mark.parametrize("spec", SPECS)
def test_wanted_rows(spec: str, scheme: str) -> None:
    decoder, adapters, found = packed(spec, scheme), held(spec), []
    texts = [text(0, 5), text(1, 23), text(2, 9)]
    wanted = torch.tensor([30, 4, 5, 27, 0])
    for rows in (None, wanted):
        memory = allocate(decoder.spec, sequences=3, tokens=LAST, dtype=decoder.dtype)
        handles = [memory.open() for _ in texts]
        found.append(torch.cat(run(decoder, adapters, memory, texts, handles, ["red", None, "blue"], rows)))
    assert same_bits(found[1], found[0][wanted])


@pytest.mark.feature("adapters")
@needs_kernels
@equivalence("rows without an adapter beside rows with one = a model that has no adapters", "bit")
@pytest.mark.parametrize("scheme", SCHEMES_HERE)
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("make", [packed, unfused])
def test_without(spec: str, scheme: str, make: Any) -> None:
    decoder, adapters, none = make(spec, scheme), held(spec), Adapters(SPECS[spec], "cpu")
    texts = [text(0, 5), text(1, 23), text(2, 9)]
    found = []
    for some, names in ((adapters, ["red", None, "blue"]), (none, [None] * 3)):
        memory = allocate(decoder.spec, sequences=3, tokens=LAST, dtype=decoder.dtype)
        found.append(run(decoder, some, memory, texts, [memory.open() for _ in texts], names))
    (red, mixed, _), (bare, expected, _) = found
    assert same_bits(mixed, expected) and off(red, bare) > 0.1


@equivalence("an adapter beside the weights = one in their place", "round")
@pytest.mark.parametrize("spec", SPECS)
def test_attached(spec: str) -> None:
    decoder, adapters = plain(spec), held(spec)
    memory = allocate(decoder.spec, sequences=4, tokens=LAST, dtype=decoder.dtype)
    texts = [text(0, 17), text(1, 23), text(2, 1), text(3, 30)]
    names = ["red", None, "thin", "blue"]
    mixed = run(decoder, adapters, memory, texts, [memory.open() for _ in texts], names)
    bare = [alone(decoder, adapters, some, None) for some in texts]
    assert off(mixed[1], bare[1]) <= LOGITS
    for index in (0, 2, 3):
        expected = small.logits(merged(spec, str(names[index])), texts[index])
        assert off(mixed[index], expected) <= LOGITS
        assert off(bare[index], expected) > 0.1, "the adapter must say something"


@needs_kernels
@equivalence("native calls with an adapter on one kind of matrix = its module's product and torch's addend", "round")
@pytest.mark.parametrize("scheme", ["bf16", "q8_0"])
@pytest.mark.parametrize("spec", ["local", "recurrent"])
def test_each_matrix(spec: str, scheme: str) -> None:
    """The two differ by what rounding makes of the norms and the attention between the products, with adapters or
    without."""
    native, modules, some = packed(spec, scheme), unfused(spec, scheme), text(5, 20)
    none = Adapters(SPECS[spec], "cpu")
    bare = alone(native, none, some, None)
    noise = off(bare, alone(modules, none, some, None))
    for kind in sorted({path.split(".", 2)[2] for path in linears(spec)}):
        whole, generator = linears(spec), torch.Generator().manual_seed(3)
        pairs = {
            path: LowRank(
                a=torch.randn(6, whole[path][1], generator=generator) / whole[path][1] ** 0.5,
                b=torch.randn(whole[path][0], 6, generator=generator),
                alpha=3.0,
                rslora=False,
            )
            for path in whole
            if path.endswith(kind)
        }
        adapters = Adapters(SPECS[spec], "cpu")
        adapters.add("one", Adapter(modules=pairs, dropout=0.0, base=None))
        found, expected = (alone(model, adapters, some, "one") for model in (native, modules))
        assert off(found, bare) > 5 * noise, kind
        assert off(found, expected) < 3 * noise, kind


@needs_kernels
@equivalence("any number of threads = one, with adapters", "bit")
@pytest.mark.parametrize("spec", SPECS)
def test_threads(spec: str) -> None:
    decoder, some = packed(spec, "q8_0"), text(6, 40)
    expected = alone(decoder, held(spec), some, "red")
    torch.set_num_threads(2)
    assert same_bits(alone(decoder, held(spec), some, "red"), expected)


# ----------------------------------------------------------------------------------------------------------------------
# Engines


def drawn(draw: random.Random, seed: int, known: list[Request]) -> Request:
    """A prompt that often begins like one before it, which may have had another adapter."""
    ids: list[int] = []
    if known and draw.random() < 0.8:
        old = draw.choice(known)
        ids = list(old.ids[: draw.choice([len(old.ids), draw.randint(1, len(old.ids))])][:60])
    ids += draw.choices(range(VOCAB), k=draw.choice([1, 3, 17]))
    chosen = {"temperature": draw.choice([0, 1.0]), "seed": seed, "logprobs": 1, "max_tokens": draw.randint(1, 9)}
    return Request(ids=tuple(ids), sampling=Sampling(**chosen), adapter=draw.choice([None, *NAMES]))


def live(spec: str, seed: int, requests: int) -> tuple[Engine, list[tuple[Request, Completion]]]:
    """A random schedule through one engine that keeps beginnings and sessions."""
    draw = random.Random(seed)
    engine = Engine(
        packed(spec, "q8_0"),
        context=LAST,
        sequences=3,
        chunk=16,
        defaults=Sampling(),
        reuse=4,
        adapters=held(spec),
    )
    asked: dict[int, Request] = {}
    done: dict[int, Completion] = {}
    sessions = [Session(), Session()]
    while requests or engine.busy:
        if requests and draw.random() < 0.4:
            requests -= 1
            said = [Request(ids=(*asked[key].ids, *one.ids)) for key, one in done.items()]
            request = drawn(draw, len(asked), [*asked.values(), *said])
            idle = [session for session in sessions if not session.busy]
            session = draw.choice(idle) if idle and draw.random() < 0.3 else None
            asked[engine.submit(request, session)] = request
        done |= {event.request: event.completion for event in engine.step() if event.completion is not None}
        if engine._live and draw.random() < 0.03:
            engine.cancel(draw.choice(list(engine._live)))
    return engine, [(asked[key], one) for key, one in done.items()]


@pytest.mark.feature("adapters")
@needs_kernels
@equivalence("requests with different adapters in one engine, kept beginnings and all = each read anew alone", "bit")
@pytest.mark.parametrize("spec", SPECS)
def test_engines(spec: str) -> None:
    engine, found = live(spec, 3, 14)
    for request, one in found:
        fresh = Engine(packed(spec, "q8_0"), context=LAST, sequences=1, defaults=Sampling(), adapters=held(spec))
        expected = fresh.generate(request)
        assert (one.ids, one.logprobs) == (expected.ids, expected.logprobs)
    assert sum(one.usage.cached for _, one in found) > 0
    assert len({request.adapter for request, _ in found}) > 2
    assert all(engine.adapters.find(name).users == 0 for name in NAMES)  # type: ignore[union-attr]
