"""The loop learns, stops, resumes bit for bit, and never steps on a number that is not finite."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gemwright.data.batch import Batch
from gemwright.data.tokens import TokenFile
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.runlog import read
from gemwright.text.tokenizer import Tokenizer
from gemwright.train import state
from gemwright.train.clock import PARTS
from gemwright.train.corpus import prepare
from gemwright.train.evaluate import evaluate
from gemwright.train.loop import Progress, train
from gemwright.train.next_token import next_token
from gemwright.train.objective import Sum
from gemwright.train.run import Run, override
from gemwright.train.trainer import Trainer

MakeRun = Callable[..., Run]


def _lines(run: Run, kind: str) -> list[dict[str, Any]]:
    return [line for line in read(run.out / "log.jsonl") if line["kind"] == kind]


def _numbers(run: Run) -> dict[int, tuple[float, ...]]:
    """What the log says of each step, the clock left out; of a step logged twice, the later line."""
    return {line["step"]: (line["loss"], line["norm"], line["rate"]) for line in _lines(run, "step")}


def _state(run: Run) -> state.Checkpoint:
    found, _ = state.latest(run.out / "checkpoints")
    assert found is not None
    return found


def _assert_same(one: state.Checkpoint, other: state.Checkpoint) -> None:
    assert one.step == other.step and one.facts["cursor"] == other.facts["cursor"]
    for part, tensors in one.tensors.items():
        assert tensors.keys() == other.tensors[part].keys()
        assert all(torch.equal(tensor, other.tensors[part][name]) for name, tensor in tensors.items()), part


def test_it_learns(make_run: MakeRun) -> None:
    outcome = train(override(make_run(), ["steps=40", "watch.evaluate=40", "watch.checkpoint=40"]))
    losses = [line["loss"] for line in _lines(make_run(), "step")]
    assert outcome.finished and outcome.step == 40 and outcome.held_out is not None
    assert losses[0] > 5.5 and losses[-1] < 4.5 and outcome.held_out.loss < 5.0


@pytest.mark.parametrize("settings", [[], ["compute=bfloat16", "step.recompute=true", "ema=0.9", "schedule.kind=wsd"]])
def test_stopped_and_resumed_is_uninterrupted_bit_for_bit(make_run: MakeRun, settings: list[str]) -> None:
    whole, halves = (override(make_run(name), settings) for name in ("whole", "halves"))
    train(whole)
    stopped = train(halves, stop=lambda step: step == 3)
    assert not stopped.finished and stopped.step == 3
    resumed = train(halves, resume=True)
    assert resumed.finished and resumed.step == 6
    assert _numbers(halves) == _numbers(whole)
    _assert_same(_state(whole), _state(halves))
    assert [line["loss"] for line in _lines(halves, "evaluation")] == [
        line["loss"] for line in _lines(whole, "evaluation")
    ]


def test_a_kill_between_checkpoints_repeats_the_lost_steps_exactly(make_run: MakeRun) -> None:
    whole, killed = make_run("whole"), make_run("killed")
    train(whole)

    def kill(progress: Progress) -> None:
        if progress.step == 5:
            raise RuntimeError("killed")  # nothing is written after the checkpoint of step 4

    with pytest.raises(RuntimeError, match="killed"):
        train(killed, progress=kill)
    torn = killed.out / "checkpoints" / "step-00000004" / "optimizer.safetensors"
    torn.write_bytes(torn.read_bytes()[:-7])  # and the newest one is damaged as well
    told: list[str] = []
    train(killed, resume=True, progress=lambda progress: told.append(progress.note))
    assert "step-00000004" in told[0]
    assert _numbers(killed) == _numbers(whole)
    _assert_same(_state(whole), _state(killed))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_checkpoint(make_run: MakeRun, number: signal.Signals) -> None:
    run, before = make_run(), signal.getsignal(number)

    def interrupt(progress: Progress) -> None:
        if progress.step == 3:
            os.kill(os.getpid(), number)

    outcome = train(run, progress=interrupt)
    assert not outcome.finished and outcome.step == 4 and _state(run).step == 4
    assert signal.getsignal(number) is before


def test_one_batch_of_four_rows_is_four_batches_of_one(make_run: MakeRun, tokenizer: Tokenizer) -> None:
    def gradients(micro: int) -> tuple[float, dict[str, torch.Tensor]]:
        run = override(make_run(), ["step.tokens=128", f"step.micro={micro}", "optim.clip=1e9"])
        tokens, _ = prepare(run.data, tokenizer, run.out / "tokens", resume=False)
        trainer = Trainer(run, tokens, next_token)
        trainer.model.double()
        stepped = trainer.advance()
        assert stepped.count == stepped.tokens
        return stepped.total, {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}

    (total, one), (other_total, four) = gradients(128), gradients(32)
    assert total == pytest.approx(other_total, rel=1e-6)
    assert one.keys() == four.keys() and len(one) > 20
    for name, gradient in one.items():
        assert torch.allclose(gradient, four[name], rtol=1e-4, atol=1e-8), name


def test_the_step_uses_the_mean_over_all_of_its_weights(make_run: MakeRun, tokenizer: Tokenizer) -> None:
    run = override(make_run(), ["optim.clip=1e9"])
    tokens, _ = prepare(run.data, tokenizer, run.out / "tokens", resume=False)
    gradients = []
    for scale in (1.0, 8.0):

        def scaled(model: Decoder, batch: Batch, scale: float = scale) -> Sum:
            loss = next_token(model, batch)
            return Sum(total=loss.total * scale, count=loss.count * scale)

        trainer = Trainer(run, tokens, scaled)
        trainer.advance()
        gradients.append([p.grad.clone() for p in trainer.model.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, rtol=1e-5) for a, b in zip(*gradients, strict=True))


def test_a_loss_that_is_not_finite_saves_the_batch_and_leaves_the_weights(
    make_run: MakeRun, tokenizer: Tokenizer
) -> None:
    run = make_run()
    tokens, _ = prepare(run.data, tokenizer, run.out / "tokens", resume=False)

    def broken(model: Decoder, batch: Batch) -> Sum:
        loss = next_token(model, batch)
        return Sum(total=loss.total * float("inf"), count=loss.count)

    trainer = Trainer(run, tokens, broken)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    with pytest.raises(UserError, match="step 0 has a loss of inf") as caught:
        trainer.advance()
    (path,) = run.out.glob("not-finite-*")
    assert str(path) in caught.value.message
    saved = load_file(path)
    fresh = Trainer(run, tokens, next_token).packer.take(1)
    assert torch.equal(saved["0.ids"], fresh.ids) and saved["0.starts"].tolist() == list(fresh.span.plan.starts)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    with pytest.raises(UserError):
        train(override(run, ["watch.log=2"]), objective=broken)
    assert [line["step"] for line in _lines(run, "failed")] == [0]


def test_a_folder_that_holds_a_run_is_not_overwritten(make_run: MakeRun) -> None:
    run = make_run()
    train(run, stop=lambda step: step == 1)
    with pytest.raises(UserError, match="holds a run already"):
        train(run)


def test_resuming_another_run_is_refused_with_the_difference(make_run: MakeRun) -> None:
    run = make_run()
    train(run, stop=lambda step: step == 2)
    with pytest.raises(UserError, match=r"optim\.rate was 0\.01 and is 0\.5"):
        train(override(run, ["optim.rate=0.5"]), resume=True)
    with pytest.raises(UserError, match="other texts"):
        train(override(run, ["data.held_out=0.5"]), resume=True)


def test_a_text_that_changes_under_a_run_does_not_change_the_run(make_run: MakeRun) -> None:
    whole, halves = make_run("whole"), make_run("halves")
    train(whole)
    train(halves, stop=lambda step: step == 3)
    Path(halves.data.sources[0]).write_text('{"text": "something else"}\n', encoding="utf-8")
    train(halves, resume=True)
    _assert_same(_state(whole), _state(halves))


def test_the_log_tells_the_run_the_steps_and_the_end(make_run: MakeRun) -> None:
    run = override(make_run(), ["watch.log=4"])
    train(run)
    (start,) = _lines(run, "start")
    assert start["run"]["steps"] == 6 and start["parameters"] > 5000 and start["rows"] > 5
    assert [line["step"] for line in _lines(run, "step")] == [4, 6]
    assert [line["step"] for line in _lines(run, "evaluation")] == [3, 6]
    assert [line["step"] for line in _lines(run, "checkpoint")] == [2, 4, 6]
    assert _lines(run, "end")[0]["step"] == 6
    assert all(line["tokens_per_second"] > 0 for line in _lines(run, "step"))


def test_an_evaluation_is_a_mean_over_all_held_out_tokens(make_run: MakeRun, tokenizer: Tokenizer) -> None:
    run = make_run()
    _, held_out = prepare(run.data, tokenizer, run.out / "tokens", resume=False)
    assert held_out is not None
    model = Trainer(run, (held_out,), next_token).model
    with torch.no_grad():
        model.embed.weight.zero_()  # every token is as likely as any other
    for batch in (32, 1000):
        found = evaluate(model, held_out, row=32, batch=batch)
        assert found.tokens == held_out.meta.tokens
        assert found.loss == pytest.approx(torch.tensor(320.0).log().item(), rel=1e-5)
        bits = torch.tensor(320.0).log2().item() * held_out.meta.tokens / held_out.meta.bytes
        assert found.bits_per_byte == pytest.approx(bits, rel=1e-5)


def test_bfloat16_products_keep_float32_weights_and_learn(make_run: MakeRun) -> None:
    run = override(make_run(), ["compute=bfloat16", "steps=20"])
    outcome = train(run)
    assert {parameter.dtype for parameter in outcome.model.parameters()} == {torch.float32}
    losses = list(_numbers(run).values())
    assert losses[-1][0] < losses[0][0] - 0.5


def test_a_vocabulary_larger_than_the_table_is_refused(make_run: MakeRun) -> None:
    run = make_run()
    model = type(run.model)(**{**vars(run.model), "vocab": 300})
    with pytest.raises(UserError, match="303 pieces, the model's table 300 rows"):
        train(type(run)(**{**vars(run), "model": model}))


def test_lines_cover_the_same_steps_whenever_the_run_was_stopped(make_run: MakeRun) -> None:
    whole, halves = (override(make_run(name), ["watch.log=4"]) for name in ("whole", "halves"))
    train(whole)
    for step in (1, 3, 5):
        train(halves, resume=True, stop=lambda now, step=step: now == step)
    train(halves, resume=True)
    assert _numbers(halves) == _numbers(whole) and _numbers(whole).keys() == {4, 6}


def test_the_average_is_evaluated_and_handed_on_where_it_is_chosen(make_run: MakeRun) -> None:
    ended, saved = {}, {}
    for word in ("last", "average"):
        run = override(make_run(word), ["ema=0.8", f"chosen={word}"])
        ended[word], saved[word] = train(run), _state(run)
    _assert_same(saved["last"], saved["average"])  # the choice changes nothing in the run itself
    for word, part in (("last", "model"), ("average", "average")):
        wanted = saved[word].tensors[part]
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in ended[word].model.named_parameters())
    losses = {word: outcome.held_out.loss for word, outcome in ended.items() if outcome.held_out}
    assert len(losses) == 2 and losses["last"] != losses["average"]


def test_training_goes_on_from_the_last_weights_after_the_average_was_evaluated(make_run: MakeRun) -> None:
    often, never = (override(make_run(name), ["ema=0.8", "chosen=average"]) for name in ("often", "never"))
    train(override(often, ["watch.evaluate=1"]))
    train(override(never, ["watch.evaluate=6"]))
    _assert_same(_state(often), _state(never))


def test_recompute_and_the_rest_of_the_watching_change_no_bit_of_a_run(make_run: MakeRun) -> None:
    plain, other = make_run("plain"), override(make_run("other"), ["step.recompute=true", "watch.log=5"])
    train(plain)
    train(other)
    _assert_same(_state(plain), _state(other))


@contextmanager
def _no_file_above(size: int) -> Iterator[None]:
    """While the context is open, writing past that size in any file fails, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_fills_in_a_checkpoint_loses_nothing(make_run: MakeRun) -> None:
    whole, full = make_run("whole"), make_run("full")
    train(whole)
    train(full, stop=lambda step: step == 2)
    largest = (full.out / "checkpoints" / "step-00000002" / "optimizer.safetensors").stat().st_size
    with _no_file_above(largest // 2), pytest.raises(UserError, match="cannot write the checkpoint") as caught:
        train(full, resume=True)
    assert "step-00000002 is untouched" in caught.value.hint
    assert [line["step"] for line in _lines(full, "failed")] == [4]
    assert [path.name for path in (full.out / "checkpoints").iterdir()] == ["step-00000002"]
    train(full, resume=True)
    assert _numbers(full) == _numbers(whole)
    _assert_same(_state(whole), _state(full))


def test_a_disk_that_fills_under_the_log_ends_the_run_and_leaves_whole_lines(make_run: MakeRun) -> None:
    whole, full = make_run("whole"), make_run("full")
    train(whole)
    train(full, stop=lambda step: step == 2)
    log = full.out / "log.jsonl"
    with _no_file_above(log.stat().st_size + 100), pytest.raises(UserError, match="cannot write the run log"):
        train(full, resume=True)
    assert log.read_bytes().endswith(b"\n") and len(list(read(log))) == log.read_bytes().count(b"\n")
    train(full, resume=True)
    assert _numbers(full) == _numbers(whole)


def test_time_by_part_and_memory_are_told_in_the_log_and_to_the_person(make_run: MakeRun) -> None:
    seen: list[Progress] = []
    train(make_run(), progress=seen.append)
    lines = _lines(make_run(), "step")
    assert all(line["seconds"].keys() == set(PARTS) and line["seconds"]["model"] > 0 for line in lines)
    assert lines[2]["seconds"]["checkpoint"] > 0 and lines[3]["seconds"]["evaluation"] > 0  # those of steps 2 and 3
    assert all(line["memory"] is None or line["memory"] > 1 << 20 for line in lines)
    assert all(0 < one.parts["model"] < 1 and sum(one.parts.values()) <= 1 for one in seen)
    assert seen[-1].remaining == 0 and seen[0].remaining > 0


def test_nothing_held_out_means_no_evaluation(make_run: MakeRun) -> None:
    run = override(make_run(), ["data.held_out=0", "steps=3"])
    assert train(run).held_out is None and _lines(run, "evaluation") == []
    assert TokenFile(run.out / "tokens" / "train").meta.documents == 40


# ----------------------------------------------------------------------------------------------------------------------
# Pictures


@pytest.mark.parametrize("settings", [[], ["compute=bfloat16", "step.recompute=true", "ema=0.9", "chosen=average"]])
def test_a_run_that_tunes_its_tower_resumes_bit_for_bit(make_seeing: MakeRun, settings: list[str]) -> None:
    whole, halves = (override(make_seeing(name), settings) for name in ("whole", "halves"))
    one = train(whole)
    assert not train(halves, stop=lambda step: step == 3).finished
    other = train(halves, resume=True)
    assert _numbers(halves) == _numbers(whole)
    _assert_same(_state(whole), _state(halves))
    assert one.tower is not None and other.tower is not None and one.held_out == other.held_out
    assert all(map(torch.equal, one.tower.parameters(), other.tower.parameters()))


def test_a_tuned_tower_learns_and_is_handed_on(make_seeing: MakeRun) -> None:
    before = dict(Trainer(make_seeing(), _prepared(make_seeing()), next_token).learner.named_parameters())
    outcome = train(override(make_seeing("other"), ["steps=12"]))
    assert outcome.tower is not None
    moved = [
        name for name, tensor in outcome.tower.named_parameters() if not torch.equal(tensor, before[f"tower.{name}"])
    ]
    assert len(moved) == len(list(outcome.tower.parameters()))
    lines = _lines(make_seeing("other"), "step")
    assert lines[-1]["loss"] < lines[0]["loss"]


def _prepared(run: Run) -> tuple[TokenFile, ...]:
    tokenizer = Tokenizer.load(run.tokenizer)
    return prepare(run.data, tokenizer, run.out / "tokens", resume=False, picture_tokens=run.picture_tokens)[0]


def test_both_halves_are_optimised_and_matrices_alone_decay(make_seeing: MakeRun) -> None:
    run = make_seeing()
    trainer = Trainer(run, _prepared(run), next_token)
    names = {id(parameter): name for name, parameter in trainer.learner.named_parameters()}
    decay, plain = ({names[id(each)] for each in group["params"]} for group in trainer.optimizer.param_groups)
    assert len(decay) + len(plain) == len(names)
    assert {"tower.projector.weight", "tower.encoder.layers.0.mlp.up.weight", "decoder.embed.weight"} <= decay
    assert {"tower.projector.norm.weight", "tower.encoder.patches.bias", "tower.encoder.final_norm.weight"} <= plain


def test_a_text_run_names_its_weights_as_before_and_is_not_moved_by_a_tower_it_never_uses(
    make_run: MakeRun, make_seeing: MakeRun
) -> None:
    plain, sees = make_run("plain"), make_seeing("sees")
    sees = replace(sees, data=plain.data, step=plain.step)  # the same texts, without a picture
    train(plain)
    outcome = train(sees)
    one, other = _state(plain), _state(sees)
    assert "embed.weight" in one.tensors["model"] and one.facts["cursor"] == other.facts["cursor"]
    assert all(
        torch.equal(tensor, other.tensors["model"][f"decoder.{name}"]) for name, tensor in one.tensors["model"].items()
    )
    assert _numbers(plain) == _numbers(sees) and outcome.finished


def test_a_picture_in_a_run_of_texts_is_a_mistake(make_seeing: MakeRun) -> None:
    with pytest.raises(UserError, match=r"seen\.jsonl#\d+ shows a picture, and this run looks at none"):
        train(make_seeing(pictures=None))
