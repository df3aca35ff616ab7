"""Texts are read once, parted into sides and sources, and what was dropped is told."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gemwright.data.documents import Conversation, Document, held_out, read
from gemwright.data.mixture import Mixture, unimax
from gemwright.data.pack import Packer
from gemwright.data.tokens import TokenFile
from gemwright.errors import UserError
from gemwright.text.tokenizer import Tokenizer
from gemwright.train import corpus
from gemwright.train.loop import train
from gemwright.train.run import Data, Run, override

MakeRun = Callable[..., Run]


def _write(path: Path, records: list[Any]) -> str:
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def sources(tmp_path: Path) -> tuple[str, str]:
    """A file of 40 texts and one of 20 conversations."""
    texts = [{"text": f"the hen and the otter {number} in the den on the rest"} for number in range(40)]
    chats = [
        {"messages": [{"role": "user", "content": f"and {number}"}, {"role": "model", "content": f"the ring {number}"}]}
        for number in range(20)
    ]
    return _write(tmp_path / "texts.jsonl", texts), _write(tmp_path / "chats.jsonl", chats)


def _data(sources: tuple[str, ...], **changes: Any) -> Data:
    data = Data(sources=sources, weights=(), epochs=None, field="text", bad="stop", held_out=0.25, row=32)
    return dataclasses.replace(data, **changes)


def _texts(file: TokenFile, tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.decode(file.ids[a:b].tolist()) for a, b in zip(file.starts, file.starts[1:], strict=False)]


def test_every_document_is_on_exactly_one_side(tmp_path: Path, tokenizer: Tokenizer, sources: tuple[str, str]) -> None:
    data = _data(sources)
    (trained,), held = corpus.prepare(data, tokenizer, tmp_path / "tokens", resume=False)
    assert held is not None and trained.meta.documents + held.meta.documents == 60
    wanted = [document for document in read(sources) if held_out(document, 0.25)]
    assert list(corpus.documents(data, "held-out")) == wanted and len(wanted) == held.meta.documents
    assert len(list(corpus.documents(data, "train"))) == trained.meta.documents
    assert not set(_texts(trained, tokenizer)) & set(_texts(held, tokenizer))


def test_without_a_held_out_share_everything_is_trained_on(
    tmp_path: Path, tokenizer: Tokenizer, sources: tuple[str, str]
) -> None:
    (trained,), held = corpus.prepare(_data(sources, held_out=0.0), tokenizer, tmp_path / "tokens", resume=False)
    assert held is None and trained.meta.documents == 60 and trained.meta.conversations == 20


@pytest.mark.parametrize("changes", [{"weights": (1.0, 3.0)}, {"epochs": 2.0}])
def test_sources_with_shares_have_a_file_each(
    tmp_path: Path, tokenizer: Tokenizer, sources: tuple[str, str], changes: dict[str, Any]
) -> None:
    data = _data(sources, **changes)
    files, held = corpus.prepare(data, tokenizer, tmp_path / "tokens", resume=False)
    texts, chats = files
    assert (texts.meta.conversations, chats.meta.conversations) == (0, chats.meta.documents)
    assert held is not None and 0 < held.meta.conversations < held.meta.documents
    assert texts.loss is None and chats.loss is not None
    assert [file.folder for file in corpus.trained(data, tmp_path / "tokens")] == [file.folder for file in files]


def test_a_resumed_run_reads_the_tokens_and_not_the_texts(
    tmp_path: Path, tokenizer: Tokenizer, sources: tuple[str, str]
) -> None:
    data = _data(sources, weights=(1.0, 1.0))
    before, held = corpus.prepare(data, tokenizer, tmp_path / "tokens", resume=False)
    for source in sources:
        Path(source).unlink()
    after, again = corpus.prepare(data, tokenizer, tmp_path / "tokens", resume=True)
    assert [file.fingerprint() for file in after] == [file.fingerprint() for file in before]
    assert held is not None and again is not None and held.fingerprint() == again.fingerprint()
    with pytest.raises(UserError, match="other texts"):
        corpus.prepare(_data(sources, weights=(1.0, 2.0)), tokenizer, tmp_path / "tokens", resume=True)


def test_what_is_dropped_is_told_by_stage_and_reason(
    tmp_path: Path, tokenizer: Tokenizer, sources: tuple[str, str]
) -> None:
    bad = _write(tmp_path / "bad.jsonl", ["{", {"text": ""}, {"messages": [{"role": "user", "content": "no answer"}]}])
    data = _data((*sources, bad), bad="skip", held_out=0.0)
    (trained,), _ = corpus.prepare(data, tokenizer, tmp_path / "tokens", resume=False)
    assert trained.meta.documents == 60 and trained.meta.dropped == {"no answer": 1}
    assert corpus.notes(tmp_path / "tokens") == [
        "read: dropped 1 of 63 as broken: bad.jsonl#1",
        "read: dropped 1 of 63 as empty: bad.jsonl#2",
        "train: dropped 1 of 61 as no answer: bad.jsonl#3",
    ]
    with pytest.raises(UserError, match=r"bad\.jsonl, line 1: not JSON"):
        corpus.prepare(dataclasses.replace(data, bad="stop"), tokenizer, tmp_path / "other", resume=False)
    assert list((tmp_path / "other").iterdir()) == []


def test_a_report_that_is_gone_or_no_report_is_told(tmp_path: Path) -> None:
    for text in (None, "[1]", '{"read": {"eaten": 1}}'):
        if text is not None:
            (tmp_path / "report.json").write_text(text)
        (note,) = corpus.notes(tmp_path)
        assert f"{tmp_path / 'report.json'} cannot be read" in note


def test_a_side_or_source_without_a_text_is_named_with_the_reason(
    tmp_path: Path, tokenizer: Tokenizer, sources: tuple[str, str]
) -> None:
    few = _write(tmp_path / "few.jsonl", [{"text": "one"}, {"messages": []}])
    with pytest.raises(UserError, match="no text was held out"):
        corpus.prepare(_data((few,), held_out=1e-9), tokenizer, tmp_path / "tokens", resume=False)
    asked = _write(tmp_path / "asked.jsonl", [{"messages": [{"role": "user", "content": "hm"}]}])
    with pytest.raises(UserError, match=r"asked\.jsonl: nothing to train on; dropped 1 of 1 as no answer"):
        data = _data((*sources, asked), held_out=0.0, weights=(1.0, 1.0, 1.0))
        corpus.prepare(data, tokenizer, tmp_path / "tokens", resume=False)


def _rows(run: Run, tokenizer: Tokenizer) -> tuple[Any, tuple[TokenFile, ...]]:
    files, _ = corpus.prepare(run.data, tokenizer, run.out / "tokens", resume=False)
    return corpus.rows(run, files), files


def test_rows_come_from_one_file_or_from_a_mixture_by_weight(
    make_run: MakeRun, tokenizer: Tokenizer, sources: tuple[str, str]
) -> None:
    one, (file,) = _rows(make_run("one", data=_data(sources)), tokenizer)
    assert one.source == Packer(file, row=32, seed=5).source
    mixed, files = _rows(make_run("mixed", data=_data(sources, weights=(1.0, 3.0))), tokenizer)
    assert mixed.source == Mixture(files, [1.0, 3.0], row=32, seed=5).source


def test_balance_shares_the_runs_tokens_and_refuses_more_epochs_than_asked(
    make_run: MakeRun, tokenizer: Tokenizer, sources: tuple[str, str]
) -> None:
    run = make_run(steps=15, data=_data(sources, epochs=1.0))
    rows, files = _rows(run, tokenizer)
    sizes = [file.meta.tokens for file in files]
    shares = unimax(sizes, 15 * 64, 1.0)
    assert shares[1] * 15 * 64 == pytest.approx(sizes[1]) and shares[0] > shares[1]  # the smaller one is capped
    assert rows.source == Mixture(files, shares, row=32, seed=5).source
    rows.take(15 * 2)
    assert rows.cursor.parts[1].tokens <= sizes[1] + 2 * 32
    with pytest.raises(UserError, match=r"data\.epochs is 1"):
        corpus.rows(dataclasses.replace(run, steps=1000), files)


def test_a_single_source_has_its_epochs_capped_as_well(make_run: MakeRun, tokenizer: Tokenizer) -> None:
    run = make_run()
    capped = dataclasses.replace(run, steps=10_000, data=dataclasses.replace(run.data, epochs=1.0))
    with pytest.raises(UserError, match=r"data\.epochs is 1"):
        _rows(capped, tokenizer)


def test_a_mixture_with_conversations_resumes_bit_for_bit(make_run: MakeRun, sources: tuple[str, str]) -> None:
    whole, halves = (make_run(name, data=_data(sources, weights=(1.0, 2.0))) for name in ("whole", "halves"))
    one = train(whole)
    assert not train(halves, stop=lambda step: step == 3).finished
    other = train(halves, resume=True)
    assert other.finished and one.targets == other.targets < 6 * 64
    assert all(map(torch.equal, one.model.parameters(), other.model.parameters()))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("data.weights=1", "one number above 0 for each of the 2 sources"),
        ("data.weights=1,0", "one number above 0"),
        ("data.weights=1,x", "it is a number"),
        ("data.epochs=0", "a number above 0"),
        ("data.bad=ignore", "one of stop, skip"),
    ],
)
def test_a_mistaken_share_is_named(make_run: MakeRun, sources: tuple[str, str], setting: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        override(make_run(data=_data(sources)), [setting])
    assert said in str(caught.value)


def test_weights_and_balance_exclude_each_other(make_run: MakeRun, sources: tuple[str, str]) -> None:
    assert override(make_run(data=_data(sources)), ["data.weights=1,2"]).data.weights == (1.0, 2.0)
    assert override(make_run(data=_data(sources)), ["data.epochs=4"]).data.epochs == 4.0
    with pytest.raises(UserError, match=r"data\.epochs"):
        override(make_run(data=_data(sources, weights=(1.0, 2.0))), ["data.epochs=4"])


def test_a_vocabularys_text_covers_conversations(sources: tuple[str, str]) -> None:
    texts = [document.text for document in corpus.documents(_data(sources, held_out=0.0), "train")]
    assert texts[-1] == "and 19\nthe ring 19"
    kinds = {type(document) for document in corpus.documents(_data(sources), "train")}
    assert kinds == {Document, Conversation}
