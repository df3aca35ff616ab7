"""lm-eval through our adapter, beside its own backend for transformers, on tasks and a checkpoint made here."""

from __future__ import annotations

import json
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gemwright.engine.request import Sampling
from gemwright.errors import UserError
from gemwright.evals import harness
from gemwright.evals.answers import prompt
from gemwright.lm import LM
from gemwright.text.turns import Message

lm_eval = pytest.importorskip("lm_eval", reason="the extra `eval` is not installed")

Words = Callable[[int], str]

CHOICE = """\
task: choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{label}}}}"
metric_list:
  - {{metric: acc}}
  - {{metric: acc_norm}}
"""
ANSWER = """\
task: answer
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{target}}}}"
generation_kwargs: {{until: ["e"], max_gen_toks: 12, do_sample: false}}
metric_list:
  - {{metric: exact_match}}
"""
ROLLING = """\
task: rolling
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{question}}}}"
metric_list:
  - {{metric: byte_perplexity}}
"""
TASKS = {"choice": CHOICE, "answer": ANSWER, "rolling": ROLLING}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network; what other people's libraries warn of is theirs."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    warnings.simplefilter("ignore")


@pytest.fixture(scope="module")
def tasks(lm: LM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tasks over twelve questions. The model itself has answered every other one."""
    words = ["the", "parser", "takes", "an", "argument", "and", "prints", "its", "help", "for", "every", "option"]
    draw, folder = random.Random(1), tmp_path_factory.mktemp("tasks")
    with (folder / "data.jsonl").open("w") as file:
        for number in range(12):
            question = " ".join(draw.choices(words, k=4 + 3 * number))
            choices = [" ".join(draw.choices(words, k=draw.randint(1, 4))) for _ in range(4)]
            answer = lm.generate(question, Sampling(temperature=0, max_tokens=12, stop=("e",))).text
            target = answer if number % 2 else "something else"
            record = {"question": question, "choices": choices, "label": number % 4, "target": target}
            file.write(json.dumps(record) + "\n")
    for name, text in TASKS.items():
        (folder / f"{name}.yaml").write_text(text.format(data=folder / "data.jsonl"))
    return folder


def found(model: Any, folder: Path, *names: str, **options: Any) -> dict[str, Any]:
    manager = harness._manager(names, folder)
    return lm_eval.simple_evaluate(model=model, tasks=list(names), task_manager=manager, **options)


def theirs(folder: Path, **options: Any) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=3, **options)


def said(result: dict[str, Any], task: str) -> list[Any]:
    """The model's word on each request, in the documents' order."""
    rows = sorted(result["samples"][task], key=lambda sample: sample["doc_id"])
    return [response for row in rows for responses in row["resps"] for response in responses]


@pytest.mark.parametrize("chat", [False, True])
def test_choices_score_as_in_the_harness_own_backend(lm: LM, folder: Path, tasks: Path, chat: bool) -> None:
    ours = found(harness.adapter(lm), tasks, "choice", apply_chat_template=chat)
    other = found(theirs(folder), tasks, "choice", apply_chat_template=chat)
    for name in ("acc,none", "acc_norm,none"):
        assert ours["results"]["choice"][name] == other["results"]["choice"][name]
    mine, wanted = said(ours, "choice"), said(other, "choice")
    assert [greedy for _, greedy in mine] == [greedy for _, greedy in wanted] and len(mine) == 48
    assert [value for value, _ in mine] == pytest.approx([value for value, _ in wanted], abs=1e-4)


def test_few_shot_chats_score_as_in_the_harness_own_backend(lm: LM, folder: Path, tasks: Path) -> None:
    options = {"apply_chat_template": True, "num_fewshot": 2, "system_instruction": "Be brief.", "limit": 4}
    ours, other = (found(model, tasks, "choice", **options) for model in (harness.adapter(lm), theirs(folder)))
    mine, wanted = ([value for value, _ in said(result, "choice")] for result in (ours, other))
    assert mine == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("chat", [False, True])
def test_answers_are_those_of_the_harness_own_backend(lm: LM, folder: Path, tasks: Path, chat: bool) -> None:
    ours = found(harness.adapter(lm), tasks, "answer", apply_chat_template=chat)
    other = found(theirs(folder), tasks, "answer", apply_chat_template=chat)
    assert said(ours, "answer") == said(other, "answer")
    assert ours["results"]["answer"]["exact_match,none"] == other["results"]["answer"]["exact_match,none"]
    assert chat or ours["results"]["answer"]["exact_match,none"] == 0.5


def test_whole_texts_score_as_in_the_harness_own_backend(lm: LM, folder: Path, tasks: Path) -> None:
    """Which would put a second <bos> before them, were it not told otherwise."""
    ours = found(harness.adapter(lm), tasks, "rolling")
    other = found(theirs(folder, add_bos_token=False), tasks, "rolling")
    assert said(ours, "rolling") == pytest.approx(said(other, "rolling"), abs=1e-3)
    name = "byte_perplexity,none"
    assert ours["results"]["rolling"][name] == pytest.approx(other["results"]["rolling"][name], rel=1e-6)


def test_every_text_begins_with_one_bos(lm: LM) -> None:
    model, bos = harness.adapter(lm), lm.tokenizer.bos  # type: ignore[union-attr]
    chat = model.apply_chat_template([{"role": "user", "content": "<bos> who?"}])
    for text in ("plain", "<bos>rendered elsewhere", chat):
        assert model.tok_encode(text)[0] == bos and model.tok_encode(text).count(bos) == 1
    assert model.tok_encode("plain", add_special_tokens=False).count(bos) == 0


def test_a_chat_gets_the_ids_that_a_chat_gives_the_model(lm: LM) -> None:
    model = harness.adapter(lm)
    said = [Message("system", "Brief."), Message("user", "Who <end_of_turn> are you?")]
    text = model.apply_chat_template([{"role": one.role, "content": one.text} for one in said])
    assert model.tok_encode(text) == list(prompt(lm, said))


def test_an_answer_may_be_begun(lm: LM) -> None:
    model = harness.adapter(lm)
    asked = [{"role": "user", "content": "Who?"}]
    begun = model.apply_chat_template([*asked, {"role": "assistant", "content": "The"}], add_generation_prompt=False)
    assert begun == model.apply_chat_template(asked) + "The"
    assert model.tok_encode(begun)[-1:] == lm.tokenizer.encode("The")[-1:]  # type: ignore[union-attr]


def test_what_is_too_long_loses_its_beginning_but_not_its_bos(lm: LM, words: Words) -> None:
    model = harness.adapter(lm)
    bos, ids = lm.tokenizer.bos, lm.tokenizer.encode(words(200))  # type: ignore[union-attr]
    assert len(ids) > model.max_length
    with pytest.warns(UserWarning, match="1 of 1 contexts are too long"):
        (cut,) = model._loglikelihood_tokens([(None, [bos, *ids], ids[:5])])
    kept = [bos, *ids[-(model.max_length - 5) :]]
    (whole,) = model._loglikelihood_tokens([(None, kept, ids[:5])])
    assert len(kept) + 5 == model.max_length + 1 and cut == whole


def test_a_text_beyond_the_context_is_read_in_windows_behind_a_bos_each(lm: LM, words: Words) -> None:
    (value,) = harness.adapter(lm).loglikelihood_rolling([SimpleNamespace(args=(words(200),))])
    assert value == pytest.approx(sum(lm.score(words(200)).logprobs))


def test_the_command_finds_the_folders_tasks(lm: LM, tasks: Path) -> None:
    result = harness.evaluate(lm, ["choice", "answer"], folder=tasks, limit=3)
    assert result["n-samples"]["choice"]["effective"] == 3 and result["lm_eval"] == lm_eval.__version__
    assert set(result["results"]) == {"choice", "answer"}


def test_what_a_task_wants_and_nobody_knows_is_refused(lm: LM, tasks: Path) -> None:
    request = SimpleNamespace(args=("text", {"until": "e", "num_beams": 4}))
    with pytest.raises(UserError, match="num_beams"):
        harness.adapter(lm).generate_until([request])
    with pytest.raises(UserError, match="no folder"):
        harness.evaluate(lm, ["choice"], folder=tasks / "absent")


def test_without_the_extra_it_is_named(lm: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    with pytest.raises(UserError, match="lm-eval is not installed"):
        harness.adapter(lm)
