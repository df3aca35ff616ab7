"""Greedy text equals that of transformers' `generate`, token for token, from the same folder.

A path proves something only if it wanders and is nowhere a coin toss: each of these, found by trying seeds, has at
least 50 distinct ids, no special ones, and no step whose two best logits are closer than 1e-3 of the logits' standard
deviation. The test measures that before it compares.
"""

from __future__ import annotations

import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import awake
import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from gemwright.engine.request import Sampling
from gemwright.lm import LM, load
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.train import train_tokenizer

TOKENS = 200
BYTE = re.compile("<0x[0-9A-F]{2}>")
VOCAB = 600
ECHO = 1.0  # a louder one would make every token repeat itself
SEEDS = {  # of weights and prompt
    "gemma1": (0, 1),
    "gemma2": (0, 3),
    "gemma3": (0, 0),
    "gemma3-factor8": (0, 0),
    "gemma3-27b": (0, 1),
    "gemma3-multimodal": (0, 0),
    "recurrentgemma": (0, 1),
}


def words(seed: int, count: int) -> str:
    """Words of no language, from a few syllables."""
    draw = random.Random(seed)
    syllables = [first + vowel for first in "bdfgklmnprstvz" for vowel in "aeiou"]
    return " ".join("".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(count))


@dataclass(frozen=True, kw_only=True)
class Path200:
    """What transformers wrote: prompt ids, new ids, the logits of each step `[T, V]`."""

    prompt: list[int]
    ids: list[int]
    logits: Tensor

    @property
    def narrowest(self) -> float:
        """The smallest gap between the two best logits of a step, in standard deviations."""
        best = self.logits.topk(2, dim=-1).values
        return ((best[:, 0] - best[:, 1]).min() / self.logits.std()).item()


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small tokenizer with Gemma's special pieces, in both forms."""
    return write_tokenizer(tmp_path_factory.mktemp("vocabulary"))


def write_tokenizer(folder: Path) -> Path:
    text = folder / "words.txt"
    text.write_text("\n".join(words(seed, 12) for seed in range(1000, 1400)), encoding="utf-8")
    train_tokenizer([text], VOCAB, folder / "tokenizer")
    return folder / "tokenizer"


def write_checkpoint(case: str, seed: int, vocabulary: Path, folder: Path) -> PreTrainedModel:
    """An awake model and the tokenizer's files in one folder.

    Special pieces and bytes are made unlikely: the first would end the text, and bytes that are no UTF-8 are shown by
    `tokenizers` as other marks than by Python.
    """
    model = awake.build(case, seed, VOCAB, ECHO)
    tokenizer = Tokenizer.load(vocabulary)
    bytes_of_text = {id for id in range(VOCAB) if BYTE.fullmatch(tokenizer.piece(id))}
    model.get_input_embeddings().weight[sorted(tokenizer.special_ids | bytes_of_text)] *= 0.05
    shutil.copytree(vocabulary, folder)
    model.save_pretrained(folder)
    return model


def their_path(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str) -> Path200:
    """Greedy generation as transformers does it."""
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=TOKENS,
        output_logits=True,
        return_dict_in_generate=True,
    )
    logits = torch.stack(out.logits)[:, 0]
    return Path200(prompt=ids[0].tolist(), ids=out.sequences[0, ids.shape[1] :].tolist(), logits=logits)


@pytest.fixture(scope="module", params=awake.CASES)
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, vocabulary: Path
) -> tuple[str, str, Path200, LM]:
    """The prompt, transformers' text and path, and our model of the same folder."""
    weights, prompt = SEEDS[request.param]
    folder: Path = tmp_path_factory.mktemp("generate") / request.param
    theirs = write_checkpoint(request.param, weights, vocabulary, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    path = their_path(theirs, tokenizer, words(prompt, 6))
    text = tokenizer.decode(path.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return words(prompt, 6), text, path, load(folder, dtype="float32", device="cpu")


def test_the_path_is_worth_following(told: tuple[str, str, Path200, LM]) -> None:
    _, _, path, lm = told
    assert lm.tokenizer is not None
    assert len(path.ids) == TOKENS > 4 * awake.WINDOW
    assert len(set(path.ids)) >= 50
    assert not set(path.ids) & set(lm.tokenizer.special_ids)
    assert path.narrowest >= 1e-3


def test_greedy_text_is_equal(told: tuple[str, str, Path200, LM]) -> None:
    prompt, text, path, lm = told
    completion = lm.generate(prompt, Sampling(temperature=0, max_tokens=TOKENS))
    assert list(completion.ids) == path.ids
    assert completion.text == text
