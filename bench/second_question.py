"""Seconds to the first token of a question about a new picture, and of later questions about the same one.

    python bench/second_question.py [--decoder gemma-3-270m] [--rounds 2] [--threads 2]

The tower has SigLIP's true geometry in bfloat16 (896 by 896 pixels, 4,096 patches, 27 layers), the decoder is a small
one; weights are random: speed does not ask what they say. The first question pays for fingerprint, resizing, the tower
and the decoder's reading; the second, in the same conversation, for its own ids; one in another conversation reads the
picture's soft tokens again, but does not make them again.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy
import torch

from gemwright.arch import gemma3
from gemwright.arch.presets import preset
from gemwright.arch.spec import Vision
from gemwright.engine.engine import Engine
from gemwright.engine.eyes import Eyes
from gemwright.engine.progress import Session
from gemwright.engine.request import PromptImage, Request, Sampling
from gemwright.image.picture import picture
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.nn.init import initialise
from gemwright.quant.scheme import scheme
from gemwright.quant.swap import swap

QUESTION = 20  # ids
ANSWER = Sampling(temperature=0, max_tokens=4, stop_ids=())


def draw_decoder(name: str) -> Decoder:
    """A decoder of that preset with random weights, packed as `lm.load` packs it."""
    with torch.device("meta"):
        model = Decoder(preset(name))
    model = model.to(torch.bfloat16).to_empty(device="cpu")
    initialise(model, torch.Generator().manual_seed(0))
    swap(model.eval(), scheme("bf16"))
    return model


def draw_tower(spec: Vision, width: int) -> Tower:
    """SigLIP and its projector into a decoder of `width`, with small random weights."""
    torch.manual_seed(1)
    tower = Tower(spec, width).to(torch.bfloat16)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.normal_(0.0, 0.02)
    return tower.eval()


def ask(engine: Engine, session: Session, request: Request) -> tuple[float, tuple[int, ...]]:
    """Seconds to the first token, and the whole answer."""
    begin = time.perf_counter()
    events = engine.stream(request, session)
    answer = [next(events)]
    seconds = time.perf_counter() - begin
    answer += events
    return seconds, tuple(event.id for event in answer if event.id is not None)


def questions(engine: Engine, seed: int) -> dict[str, float]:
    """Seconds to the first token of three questions about one new picture."""
    pixels = numpy.random.default_rng(seed).integers(0, 256, (900, 1200, 3), dtype=numpy.uint8)
    first, other = (tuple(range(start, start + QUESTION)) for start in (100, 200))
    begin = time.perf_counter()
    seen = PromptImage(first=1, count=engine.eyes.soft, picture=picture(pixels, "noise"))
    shown = time.perf_counter() - begin
    ids, talk = (2, *[0] * seen.count), Session()
    asked = Request(ids=(*ids, *first), images=(seen,), sampling=ANSWER)
    seconds, answer = ask(engine, talk, asked)
    again = Request(ids=(*asked.ids, *answer, *other), images=(seen,), sampling=ANSWER)
    later, _ = ask(engine, talk, again)
    fresh = Session()
    elsewhere, _ = ask(engine, fresh, Request(ids=(*ids, *other), images=(seen,), sampling=ANSWER))
    for session in (talk, fresh):
        engine.release(session)
    return {"first": shown + seconds, "second": later, "in another conversation": elsewhere}


def main() -> None:
    """Asks, and prints medians and their ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--decoder", default="gemma-3-270m")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    decoder = draw_decoder(given.decoder)
    tower = draw_tower(gemma3.SIGLIP, decoder.spec.width)
    engine = Engine(decoder, eyes=Eyes(lambda: tower), context=1024, sequences=2)
    print(f"a tower of {len(tower.encoder.layers)} layers, {engine.eyes.soft} soft tokens, {given.decoder}", flush=True)
    engine.generate(Request(ids=tuple(range(2, 300)), sampling=ANSWER))  # warm
    found = [questions(engine, seed) for seed in range(given.rounds)]
    medians = {name: statistics.median(one[name] for one in found) for name in found[0]}
    for name, seconds in medians.items():
        taken = ", ".join(f"{one[name]:.3f}" for one in found)
        print(f"{name}: {seconds:.3f} s to the first token (of {taken}), {medians['first'] / seconds:.0f} x sooner")


if __name__ == "__main__":
    main()
