"""A long text with pictures: nothing that is allocated grows with the square of its length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import small
import torch
from equivalence import equivalence
from schedules import noise
from test_engine_pictures import MARK, SOFT, TOWER
from torch.autograd.profiler import profile

from gemwright.arch.presets import preset
from gemwright.arch.spec import Model
from gemwright.cache.allocate import allocate
from gemwright.cache.full import BLOCK
from gemwright.data.batch import Batch
from gemwright.engine.engine import Engine
from gemwright.engine.eyes import Eyes
from gemwright.engine.request import PromptImage, Request, Sampling
from gemwright.nn.decoder import Decoder
from gemwright.ops.native import calls
from gemwright.ops.span import Image, span
from gemwright.planner.measure import PeakMemory
from gemwright.train.next_token import next_token

LONG = 131_072  # tokens
CHUNK = 512
WINDOW = 256
EVERY = 400  # tokens from one picture to the next
DTYPES = (torch.float32, torch.bfloat16)


def largest(run: Callable[[], object]) -> int:
    """Bytes of the largest piece of memory that torch allocates while this runs, inside its operators too."""
    with profile(use_cpu=True, profile_memory=True) as trace:
        run()
    assert trace.kineto_results is not None
    return max(event.nbytes() for event in trace.kineto_results.events() if event.name() == "[memory]")


def spec(heads: int = 2, capped: bool = False) -> Model:
    """A local and a global layer."""
    sizes: dict[str, Any] = {"width": 24, "heads": heads, "head_dim": 16, "hidden": 32, "vocab": small.VOCAB}
    if capped:
        return preset("gemma-2-2b", depth=2, window=WINDOW, kv_heads=1, **sizes)
    whole = preset("gemma-3-1b", depth=6, window=WINDOW, kv_heads=1, **sizes)
    return replace(whole, layers=whole.layers[-2:], context=LONG)


@cache
def model(dtype: torch.dtype, capped: bool = False) -> Decoder:
    return small.awake(spec(capped=capped), dtype)


def images(begin: int, end: int) -> list[Image]:
    return [Image(0, first, SOFT) for first in range(begin + EVERY // 4, end - SOFT, EVERY)]


def soft(count: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count * SOFT, 24, generator=torch.Generator().manual_seed(1)).to(dtype)


def prefill(dtype: torch.dtype, capped: bool) -> None:
    """The last chunk of the long text, a picture in it: what lies before is in memory, as zeros."""
    decoder, asked = model(dtype, capped), CHUNK // 2 + BLOCK
    memory = allocate(decoder.spec, sequences=1, tokens=LONG, dtype=dtype)
    for store in memory.stores:
        for held in store.tensors.values():  # type: ignore[attr-defined]
            held.zero_()
    handle = memory.open()
    handle.length = handle.high = LONG - asked
    step = memory.prepare([handle], [asked], [Image(0, LONG - 100, SOFT)])
    with torch.inference_mode():
        out = decoder(small.text(0, asked), step.span, step, soft=soft(1, dtype))
    step.commit()
    assert handle.length == LONG and out.isfinite().all()


def train(length: int, dtype: torch.dtype) -> None:
    """Forwards and backwards over a flat row of a long document with pictures, and a short one."""
    decoder = model(torch.float32)
    documents = [length - 100, 100]
    shown = images(0, documents[0])
    where = span(documents, images=shown)
    weight = (where.tensors.image == 0).float()
    ids = small.text(0, length)
    batch = Batch(ids=ids, targets=ids.roll(-1), weight=weight, span=where, rows=(), soft=soft(len(shown)))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = next_token(decoder, batch)
    loss.total.backward()
    decoder.zero_grad()


def read(length: int, dtype: torch.dtype) -> None:
    """A prompt of that length with pictures through the engine, and two tokens of an answer."""
    shown = tuple(
        PromptImage(first=image.first, count=image.count, picture=noise(image.first // EVERY % 3))
        for image in images(0, length)
    )
    ids = small.text(0, length)
    for image in shown:
        ids[image.first : image.end] = MARK
    engine = Engine(model(dtype), context=length + 2, sequences=1, chunk=CHUNK, eyes=Eyes(lambda: TOWER), reuse=2)
    sampling = Sampling(temperature=0, max_tokens=2)
    found = engine.generate(Request(ids=tuple(ids.tolist()), images=shown, sampling=sampling))
    assert len(found.ids) == 2


@pytest.mark.parametrize("capped", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@equivalence("a chunk at the end of 128K tokens with pictures allocates less than N²/64 bytes at a time", "bound")
def test_prefill(dtype: torch.dtype, capped: bool) -> None:
    assert largest(lambda: prefill(dtype, capped)) < LONG**2 / 64


@pytest.mark.skipif(not calls.available(), reason="no native kernels were built here")
@equivalence("the native kernels' own memory, with all else of such a chunk, is less than N²/64 bytes", "bound")
def test_prefill_of_the_kernels() -> None:
    """What they allocate themselves is not torch's to tell: this process's own pages are."""
    prefill(torch.bfloat16, capped=True)
    with PeakMemory() as memory:
        prefill(torch.bfloat16, capped=True)
    assert memory.peak < LONG**2 / 64


@pytest.mark.parametrize("dtype", DTYPES)
@equivalence("twice as long a training row with pictures allocates at most twice as much at a time", "bound")
def test_training_grows_with_the_length(dtype: torch.dtype) -> None:
    length = 2048 if dtype == torch.float32 else 4096
    train(length, dtype)  # what is made once is made now
    once, twice = largest(lambda: train(length, dtype)), largest(lambda: train(2 * length, dtype))
    assert twice <= 2.5 * once  # by the square it would be four times as much


@pytest.mark.soak
@pytest.mark.parametrize("dtype", DTYPES)
@equivalence("a training row of 128K tokens with pictures allocates less than N²/64 bytes at a time", "bound")
def test_training(dtype: torch.dtype) -> None:
    assert largest(lambda: train(LONG, dtype)) < LONG**2 / 64


@pytest.mark.soak
@pytest.mark.parametrize("dtype", DTYPES)
@equivalence("a prompt of 128K tokens with pictures in the engine allocates less than N²/64 bytes at a time", "bound")
def test_engine(dtype: torch.dtype) -> None:
    assert largest(lambda: read(LONG - 2, dtype)) < LONG**2 / 64
