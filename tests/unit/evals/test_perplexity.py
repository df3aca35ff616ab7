"""Perplexity of documents, beside the model's own scores and the recipe's split."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from gemwright.data.documents import PYTHON, Document, held_out
from gemwright.errors import UserError
from gemwright.evals.ngram import NGram
from gemwright.evals.perplexity import perplexity, texts
from gemwright.lm import LM
from gemwright.recipes import family
from gemwright.recipes.pocket import pocket
from gemwright.recipes.python import python

TEXTS = ("Print the help of a parser.\n", "ä\n", "The option stands behind the command. " * 30)


def documents(*contents: str) -> list[Document]:
    return [Document(name=str(number), key=str(number), text=text) for number, text in enumerate(contents)]


def test_it_is_the_models_own_score_over_all_tokens_and_bytes(lm: LM) -> None:
    found = perplexity(lm, documents(*TEXTS))
    scores = [lm.score(text) for text in TEXTS]
    nats = -sum(sum(score.logprobs) for score in scores)
    assert found.tokens == sum(score.tokens for score in scores) and found.documents == 3
    assert found.nats == pytest.approx(nats / found.tokens)
    assert found.bits == pytest.approx(nats / math.log(2) / len("".join(TEXTS).encode()))
    assert found.perplexity == pytest.approx(math.exp(found.nats))


def test_the_intervals_are_around_the_numbers(lm: LM) -> None:
    found = perplexity(lm, documents(*TEXTS), seed=1)
    assert found.nats_interval[0] < found.nats < found.nats_interval[1]
    assert found.bits_interval[0] < found.bits < found.bits_interval[1]


def test_the_baselines_count_what_came_before(lm: LM) -> None:
    assert lm.tokenizer is not None
    found = perplexity(lm, documents(TEXTS[0]), before=documents(TEXTS[2]))
    counts = NGram(lm.tokenizer.vocab_size, 3)
    counts.learn(lm.tokenizer.encode(TEXTS[2], bos=True))
    expected = [value / math.log(2) / len(TEXTS[0]) for value in counts.nats(lm.tokenizer.encode(TEXTS[0], bos=True))]
    assert list(found.ngrams) == pytest.approx(expected) and found.learnt == counts.tokens - found.tokens
    read = perplexity(lm, documents(TEXTS[0]), before=documents(TEXTS[0]))
    assert read.ngrams[2] < 0.5 * perplexity(lm, documents(TEXTS[0])).ngrams[2]


def test_no_more_documents_are_read_than_wanted(lm: LM) -> None:
    told: list[int] = []
    found = perplexity(lm, documents(*TEXTS), most=2, on_done=told.append)
    assert found.documents == 2 and told == [1, 2]
    assert found.sha256 != perplexity(lm, documents(*TEXTS[:1])).sha256


def test_without_files_it_is_what_every_recipe_holds_out() -> None:
    kept, before = texts([])
    runs = [python("run"), pocket("run"), *family.earlier(pocket("run"))]
    shares = [run.data.held_out for run in runs if PYTHON in run.data.sources]
    assert len(shares) > 2 and all(held_out(document, share) for document in kept for share in shares)
    names = {document.key for document in kept}
    assert names and not any(document.key in names for document in before)


def test_files_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    kept, before = texts([tmp_path / "a.txt"])
    assert [document.text for document in kept] == ["one"] and not list(before)


def test_what_cannot_be_measured_is_refused(lm: LM, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="empty"):
        perplexity(lm, [])
    with pytest.raises(UserError, match="no tokenizer"):
        perplexity(LM(lm.model), documents("a"))
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (tmp_path / "chat.jsonl").write_text(json.dumps({"messages": turns}))
    with pytest.raises(UserError, match="no plain text"):
        texts([tmp_path / "chat.jsonl"])
