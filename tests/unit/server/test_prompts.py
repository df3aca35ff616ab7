"""What a client sent as ids, and what it is told where the model cannot take it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gemwright.engine.eyes import Eyes
from gemwright.engine.request import Sampling
from gemwright.errors import UserError
from gemwright.lm import LM
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.server.ask import Photo, Said, of_completion
from gemwright.server.errors import ApiError
from gemwright.server.prompts import Prompts
from gemwright.server.schema import CompletionBody, parse
from gemwright.server.settings import Settings
from gemwright.text.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")


def _missing() -> Tower:
    raise UserError("/private/models/gemma is a text model: it has no vision tower", hint="look there")


@pytest.mark.parametrize("eyes", [None, Eyes(_missing)])
def test_who_shows_a_picture_to_a_model_without_a_tower_reads_its_name_and_no_path(
    tiny: Callable[[str], Decoder], tokenizer: Tokenizer, eyes: Eyes | None
) -> None:
    lm = LM(tiny("gemma-3-1b"), tokenizer, eyes=eyes)
    prompts = Prompts(lm, Settings(name="house-model"))
    said = Said(role="user", text="What is it?", images=(Photo(data=b"", pan_scan=False, param="messages[0]"),))
    with pytest.raises(ApiError) as caught:
        prompts.request((said,), Sampling())
    assert "house-model has no vision tower" in caught.value.message and "/private" not in str(caught.value.body())


def test_every_answer_has_the_priority_that_was_asked_for(tiny: Callable[[str], Decoder], tokenizer: Tokenizer) -> None:
    prompts = Prompts(LM(tiny("gemma-3-1b"), tokenizer), Settings())
    ask = of_completion(parse(CompletionBody, b'{"prompt": ["a", "b"], "n": 2, "priority": -2}'))
    assert [request.priority for request in prompts.requests(ask)] == [-2] * 4
