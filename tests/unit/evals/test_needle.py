"""The grid of lengths and distances: prompts are as long, and records stand as far back, as it says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gemwright.arch.presets import preset
from gemwright.engine.request import Completion, Usage
from gemwright.evals import needle as module
from gemwright.evals.answers import Asked, prompt
from gemwright.evals.needle import DISTANCES, lengths, needle, window, work
from gemwright.lm import LM
from gemwright.nn.decoder import Decoder
from gemwright.tasks import retrieval
from gemwright.tasks.split import side_of
from gemwright.text.turns import Message


@pytest.fixture
def long(lm: LM) -> LM:
    """The same vocabulary behind a model of 4,096 tokens, which has no weights that matter."""
    sizes = {"width": 32, "depth": 6, "heads": 1, "hidden": 32, "head_dim": 16, "window": 64, "vocab": 600}
    return LM(Decoder(preset("gemma-3-1b", **sizes, context=4096)), lm.tokenizer)


@pytest.mark.parametrize("length", [512, 1500, 4000])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_prompts_are_as_long_and_records_as_far_back_as_wanted(long: LM, length: int, share: float) -> None:
    (item,) = module._questions(long, 1, 1, length, share)
    tokens, distance = len(prompt(long, item.messages)), module._distance(long, item)
    assert length - 60 <= tokens <= length
    assert abs(distance - share * length) < 100  # opening, question, and half a sentence on either side
    assert side_of(item.key) == "test" and item.messages[-1].text.count(item.ideal) == 1
    assert retrieval.judge(item, item.ideal).score == 1


def test_lengths_double_up_to_the_context(lm: LM, long: LM) -> None:
    assert lengths(long) == [256, 512, 1024, 2048, 4072]
    assert lengths(lm) == [232]


def test_the_window_is_that_of_the_local_layers(long: LM) -> None:
    assert window(long) == 64
    assert window(LM(Decoder(preset("gemma-2b", width=32, depth=1, heads=1, hidden=32, head_dim=16, vocab=32)))) is None


def test_cells_beyond_the_window_are_marked(lm: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody answers who sees 100 tokens back."""

    def ask(lm: LM, conversations: Sequence[Sequence[Message]], **_: object) -> list[Asked]:
        usage = Usage(prompt=1, cached=0, completion=1, prefill_seconds=0, decode_seconds=0)
        found = []
        for messages in conversations:
            item = next(item for item in drawn if item.messages == messages)
            text = item.ideal if module._distance(lm, item) <= 100 else "0"
            answer = Completion(text=text, ids=(1,), logprobs=None, finish_reason="stop", usage=usage, seed=0)
            found.append(Asked(prompt=prompt(lm, messages), answer=answer))
        return found

    drawn, questions = [], module._questions

    def kept(*arguments: object) -> list:
        drawn.extend(found := list(questions(*arguments)))  # type: ignore[arg-type]
        return found

    monkeypatch.setattr(module, "ask", ask)
    monkeypatch.setattr(module, "_questions", kept)
    grid = needle(lm, count=2)
    assert grid.window == 16 and [cell.share for cell in grid.cells] == list(DISTANCES)
    for cell in grid.cells:
        assert cell.beyond == (cell.distance > 16) or cell.share == DISTANCES[0]
        assert cell.score == (1.0 if cell.distance < 90 else 0.0 if cell.distance > 110 else cell.score)
    assert {cell.score for cell in grid.cells} >= {0.0, 1.0}


def test_the_same_seed_asks_the_same_questions(lm: LM) -> None:
    first, again, other = (list(module._questions(lm, seed, 2, 232, 0.5)) for seed in (0, 0, 1))
    assert first == again != other


def test_a_grid_is_answered(lm: LM) -> None:
    told: list[int] = []
    tree = needle(lm, count=1, on_done=told.append).to_json()
    assert len(tree["cells"]) == 5 and told == [232 * done for done in range(1, 6)]
    assert work(lm, 1) == (5, told[-1])
    assert all(cell["tokens"] <= 232 for cell in tree["cells"])
