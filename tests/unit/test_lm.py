"""The public handle: one way in, and every way out agrees with the model."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import safetensors.torch
import torch
from torch import Tensor

import gemwright
from gemwright.cache.allocate import allocate
from gemwright.engine.request import Request, Sampling
from gemwright.errors import UserError
from gemwright.lm import LM, Score
from gemwright.nn.decoder import Decoder
from gemwright.ops.span import span
from gemwright.text.tokenizer import Tokenizer
from gemwright.weights.save import save

pytestmark = pytest.mark.usefixtures("one_thread")

Tiny = Callable[[str], Decoder]
GREEDY = Sampling(temperature=0, max_tokens=16, ignore_eos=True)


def prompt(length: int, seed: int = 0) -> list[int]:
    return [2, *torch.randint(9, 303, (length - 1,), generator=torch.Generator().manual_seed(seed)).tolist()]


def whole(model: Decoder, ids: list[int]) -> Tensor:
    """Logits of one pass without a cache."""
    with torch.no_grad():
        return model(torch.tensor(ids), span([len(ids)]), use=lambda hidden, head: head.logits(hidden))


def reference(model: Decoder, ids: list[int]) -> list[float]:
    logs = torch.log_softmax(whole(model, ids), -1)
    return [float(logs[at - 1, ids[at]]) for at in range(1, len(ids))]


@pytest.fixture
def folder(tmp_path: Path, tiny: Tiny, tokenizer: Tokenizer) -> Path:
    """A whole checkpoint: weights, config, tokenizer, sampling defaults."""
    path = tmp_path / "checkpoint"
    save(tiny("gemma-3-1b"), path, extras=[tokenizer.source])
    (path / "generation_config.json").write_text(json.dumps({"do_sample": False, "eos_token_id": [1, 106]}))
    return path


def test_a_loaded_folder_answers_as_the_model_that_was_saved(folder: Path, tiny: Tiny, tokenizer: Tokenizer) -> None:
    lm = gemwright.load(folder, context=64)
    expected = LM(tiny("gemma-3-1b"), tokenizer, context=64).generate("the thing", GREEDY)
    assert lm.generate("the thing", GREEDY).ids == expected.ids
    assert lm.engine.context == 64 and lm.spec.context == 256
    assert lm.folder == folder


def test_as_many_run_at_once_as_asked_for_and_four_unasked(folder: Path, tmp_path: Path) -> None:
    chosen = gemwright.load(folder, context=64, sequences=3, reuse=2, reuse_bytes=1 << 20, disk=tmp_path / "disk")
    assert chosen.engine.sequences == 3 and (tmp_path / "disk").is_dir()
    assert gemwright.load(folder, context=64).engine.sequences == 4
    with pytest.raises(UserError, match="0 sequences"):
        _ = gemwright.load(folder, context=64, sequences=0).engine


def test_the_folders_sampling_is_the_default(folder: Path) -> None:
    lm = gemwright.load(folder)
    assert lm.engine.defaults.temperature == 0
    assert set(lm.engine.defaults.stop_ids) == {1, 6, 106}  # <eos>, <end_of_turn>, and what the file adds


def test_a_folder_without_a_tokenizer_gives_a_model_of_ids(folder: Path, tiny: Tiny) -> None:
    (folder / "tokenizer.json").unlink()
    lm = gemwright.load(folder)
    ids = prompt(9)
    assert torch.equal(lm.logits(ids), whole(tiny("gemma-3-1b"), ids))
    assert lm.generate(ids, GREEDY).text == ""
    assert len(lm.score(ids).logprobs) == 8
    for wish in (lambda: lm.generate("the"), lambda: lm.score("the"), lambda: list(lm.stream("the")), lm.chat):
        with pytest.raises(UserError, match="no tokenizer"):
            wish()


def test_what_stays_in_the_file_is_told_once_for_each_reason_that_loses_something(folder: Path) -> None:
    assert gemwright.load(folder).notes == ()
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors |= {f"vision_tower.{index}.weight": torch.ones(2) for index in range(3)}
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    (note,) = gemwright.load(folder).notes
    assert note.startswith("3 tensors") and "vision" in note


def test_a_damaged_tokenizer_is_not_taken_for_a_missing_one(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="tokenizer"):
        gemwright.load(folder)


def test_logits_in_chunks_are_those_of_one_pass(tiny: Tiny, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = prompt(41)
    expected = whole(tiny(family), ids)
    monkeypatch.setattr("gemwright.lm._CHUNK", 16)
    found = LM(tiny(family)).logits(ids)
    assert found.shape == (41, 320) and found.dtype == torch.float32
    assert float((found - expected).abs().max() / expected.std()) < 1e-5


def test_scores_are_the_log_probabilities_of_one_pass(tiny: Tiny, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = prompt(41)
    expected = reference(tiny(family), ids)
    monkeypatch.setattr("gemwright.lm._CHUNK", 16)
    score = LM(tiny(family)).score(ids)
    assert score.ids == tuple(ids) and score.tokens == 40
    assert score.logprobs == pytest.approx(expected, abs=1e-4)
    assert score.perplexity == pytest.approx(math.exp(-sum(expected) / 40), rel=1e-4)


@pytest.mark.parametrize(("window", "stride"), [(16, 5), (16, 14), (20, None), (7, 1)])
def test_a_strided_window_scores_each_token_once_from_its_own_window(
    tiny: Tiny, tokenizer: Tokenizer, window: int, stride: int | None
) -> None:
    model, ids = tiny("gemma-2b"), prompt(53)
    step = stride or window // 2
    expected = reference(model, ids[:window])
    while len(expected) + 1 < len(ids):
        end = min(len(expected) + 1 + step, len(ids))
        new = end - len(expected) - 1
        expected += reference(model, [2, *ids[end - window + 1 : end]])[-new:]
    score = LM(model, tokenizer).score(ids, window=window, stride=stride)
    assert score.logprobs == pytest.approx(expected, abs=1e-4)


def test_a_window_wider_than_the_text_is_one_pass(tiny: Tiny, tokenizer: Tokenizer) -> None:
    lm, ids = LM(tiny("gemma-3-1b"), tokenizer), prompt(30)
    assert lm.score(ids, window=200, stride=3) == lm.score(ids)


def test_a_text_longer_than_the_context_is_scored_in_windows_of_it(tiny: Tiny, tokenizer: Tokenizer) -> None:
    lm, ids = LM(tiny("gemma-2-2b"), tokenizer), prompt(300)
    assert lm.score(ids) == lm.score(ids, window=256, stride=128)


@pytest.mark.parametrize(("window", "stride"), [(2, None), (16, 16), (16, 15), (16, 0), (-4, None), (0, None)])
def test_a_window_that_cannot_move_is_refused(
    tiny: Tiny, tokenizer: Tokenizer, window: int, stride: int | None
) -> None:
    with pytest.raises(UserError, match="cannot move"):
        LM(tiny("gemma-2b"), tokenizer).score(prompt(53), window=window, stride=stride)


def test_what_cannot_be_scored_is_refused(tiny: Tiny) -> None:
    lm = LM(tiny("gemma-2b"))
    for ids, message in (([], "empty"), ([2], "one token"), ([2, 320], "320")):
        with pytest.raises(UserError, match=message):
            lm.score(ids)
    with pytest.raises(UserError, match="empty"):
        lm.logits([])


def test_scores_on_an_int8_cache_are_those_of_its_cache(tiny: Tiny) -> None:
    """Short texts too: what was rounded is read from the first token on."""
    model, ids = tiny("gemma-3-1b"), prompt(40)
    plain, small = LM(model).score(ids).logprobs, LM(model, int8_cache=True).score(ids).logprobs
    memory = allocate(model.spec, sequences=1, tokens=len(ids), dtype=model.dtype, int8=True)
    step = memory.prepare([memory.open()], [len(ids)])
    with torch.no_grad():
        hidden = model(torch.tensor(ids), step.span, memory=step)
        expected = model.head.log_probs(hidden[:-1], torch.tensor(ids[1:]))
    assert small == tuple(expected.tolist()) and small != plain
    assert small == pytest.approx(plain, abs=0.1)


def test_perplexity_leaves_the_numbers_as_infinity() -> None:
    assert Score(ids=(1, 2), logprobs=(-1e6,)).perplexity == math.inf


def test_streamed_pieces_joined_are_the_generated_text(tiny: Tiny, tokenizer: Tokenizer) -> None:
    lm = LM(tiny("gemma-3-1b"), tokenizer)
    assert "".join(lm.stream("the", GREEDY)) == lm.generate("the", GREEDY).text


def test_text_and_its_ids_give_the_same_answer(tiny: Tiny, tokenizer: Tokenizer) -> None:
    lm = LM(tiny("gemma-3-1b"), tokenizer)
    ids = tokenizer.encode("the thing", bos=True)
    assert lm.generate(ids, GREEDY).ids == lm.generate(torch.tensor(ids), GREEDY).ids  # type: ignore[arg-type]
    assert lm.generate("the thing", GREEDY).ids == lm.generate(ids, GREEDY).ids


def test_logits_can_take_part_in_a_gradient(tiny: Tiny) -> None:
    factor = torch.tensor(2.0, requires_grad=True)
    (LM(tiny("gemma-2b")).logits(prompt(5)) * factor).sum().backward()
    assert factor.grad is not None


def test_chats_and_generations_share_one_engine(tiny: Tiny, tokenizer: Tokenizer) -> None:
    lm = LM(tiny("gemma-3-1b"), tokenizer)
    chat = lm.chat(system="be brief", sampling=GREEDY)
    chat.say("the")
    assert chat.engine is lm.engine
    request = Request(ids=chat.ids, sampling=GREEDY)
    assert lm.generate(chat.ids, GREEDY).ids == lm.engine.generate(request).ids
    assert chat.say("on").usage.cached > 0


def test_a_saved_chat_is_restored_as_it_was_left(tiny: Tiny, tokenizer: Tokenizer, tmp_path: Path) -> None:
    chat = LM(tiny("gemma-3-1b"), tokenizer).chat(system="be brief", sampling=GREEDY)
    chat.say("the")
    chat.save(tmp_path / "talk")
    again = LM(tiny("gemma-3-1b"), tokenizer).restore(tmp_path / "talk", GREEDY)
    assert again.transcript() == chat.transcript()
    assert again.say("on").ids == chat.say("on").ids
    assert again.last is not None and again.last.usage.cached > 0


def test_generations_reuse_beginnings_if_asked_to(tiny: Tiny) -> None:
    for reuse, cached in ((0, 0), (2, 29)):
        lm = LM(tiny("gemma-3-1b"), reuse=reuse)
        assert [lm.generate(prompt(30), GREEDY).usage.cached for _ in range(2)] == [0, cached]


def test_a_draft_guesses_and_no_text_changes(folder: Path) -> None:
    """Also beside another seed's request; a model that guesses for itself is always right."""
    expected = gemwright.load(folder, context=64, speculate="off").generate("the thing", GREEDY)
    found = gemwright.load(folder, context=64, draft=folder).generate("the thing", GREEDY)
    assert found.ids == expected.ids
    assert found.usage.accepted == found.usage.proposed > 0 == expected.usage.proposed


def test_lookup_is_what_auto_leaves_out_where_a_tie_could_fall_the_other_way(folder: Path) -> None:
    loop = Sampling(temperature=0, max_tokens=40, logit_bias={20: 1000.0})
    found = {
        how: gemwright.load(folder, context=64, speculate=how).generate("the thing", loop)
        for how in ("auto", "lookup", "off")
    }
    assert len({one.ids for one in found.values()}) == 1
    assert found["lookup"].usage.accepted > 20
    assert found["auto"].usage.proposed == found["off"].usage.proposed == 0


def test_an_unknown_speculation_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="no speculation 'sometimes'"):
        gemwright.load(folder, speculate="sometimes")


def test_a_draft_of_another_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    words = (folder / "tokenizer.json").read_text("utf-8")
    (other / "tokenizer.json").write_text(words.replace('"q"', '"Q"'), encoding="utf-8")
    with pytest.raises(UserError, match="another tokenizer"):
        gemwright.load(folder, draft=other)


def test_more_ids_than_the_model_was_made_for_are_refused(tiny: Callable[[str], Decoder]) -> None:
    lm = LM(tiny("gemma-3-1b"))
    most = lm.spec.context
    assert most is not None
    with pytest.raises(UserError, match=str(most + 1)):
        lm.logits([2] * (most + 1))


def test_integers_of_other_libraries_are_ids(tiny: Callable[[str], Decoder]) -> None:
    lm = LM(tiny("gemma-3-1b"))
    ids = [2, 9, 12]
    assert torch.equal(lm.logits([numpy.int64(id) for id in ids]), lm.logits(ids))
