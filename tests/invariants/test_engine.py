"""The engine runs many requests at once, in chunks, through memory; none of it may show in what it says."""

from __future__ import annotations

import pytest
import small
import torch
from equivalence import LOGPROBS, equivalence

from gemwright.engine.engine import Engine
from gemwright.engine.request import Completion, Request, Sampling
from gemwright.ops.span import span

TIE = 1e-4  # of the logits' standard deviation
TOKENS = 30
PROMPTS = [tuple(small.text(seed, length).tolist()) for seed, length in enumerate((3, 40, 1, 17, 9))]
GREEDY = Request(ids=PROMPTS[0], sampling=Sampling(temperature=0, max_tokens=TOKENS, logprobs=0))


def completions(name: str, sequences: int, chunk: int) -> list[Completion]:
    engine = Engine(small.model(name), context=128, sequences=sequences, chunk=chunk, defaults=Sampling())
    return engine.run([Request(ids=ids, sampling=GREEDY.sampling) for ids in PROMPTS])


def tied(name: str, ids: tuple[int, ...]) -> bool:
    """Are the two best logits after these ids too close for float32 to choose?"""
    last = small.logits(small.model(name), torch.tensor(ids))
    best = last[-1].topk(2).values
    return ((best[0] - best[1]) / last.std()).item() < TIE


@pytest.mark.feature("batching")
@pytest.mark.parametrize("name", small.NAMES)
@pytest.mark.parametrize("chunk", [7, 512])
@equivalence("requests together, prompts in chunks = each alone", "text")
def test_together(name: str, chunk: int) -> None:
    """Batches of four, the fifth request entering when a place is free."""
    alone = [completion.ids for completion in completions(name, sequences=1, chunk=512)]
    together = [completion.ids for completion in completions(name, sequences=4, chunk=chunk)]
    for prompt, some, other in zip(PROMPTS, alone, together, strict=True):
        assert len(some) == TOKENS
        first = next((index for index in range(TOKENS) if some[index] != other[index]), None)
        assert first is None or tied(name, prompt + some[:first])


@pytest.mark.parametrize("name", small.NAMES)
@equivalence("the engine's log-probabilities = those of training", "round")
def test_log_probabilities(name: str) -> None:
    """In units of the logits' standard deviation, which is what they are differences of."""
    model = small.model(name)
    for prompt, completion in zip(PROMPTS, completions(name, sequences=3, chunk=16), strict=True):
        assert completion.logprobs is not None
        ids = torch.tensor(prompt + completion.ids)
        with torch.no_grad():
            trained = model(
                ids[:-1], span([len(ids) - 1]), use=lambda hidden, head, t=ids[1:]: head.log_probs(hidden, t)
            )
        drawn = torch.tensor([token.logprob for token in completion.logprobs])
        spread = small.logits(model, ids).std()
        assert (drawn - trained[-TOKENS:]).abs().max() <= LOGPROBS * spread
