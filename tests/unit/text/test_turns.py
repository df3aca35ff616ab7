"""Conversations straight to ids in the built-in layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemwright.errors import UserError
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import Message, Role, render, render_next, stop_ids

TEXT = st.text(alphabet="ab <>_\n\té漢", max_size=20) | st.sampled_from(["<end_of_turn>", "<bos>", "  <eos>\n"])
CHAT = [Message("user", " What is 1? "), Message("model", "\nOne.\n"), Message("user", "And 2?")]


def conversations(texts: list[str]) -> list[Message]:
    return [Message("model" if index % 2 else "user", text) for index, text in enumerate(texts)]


def picture(ids: list[int], tokenizer: Tokenizer) -> str:
    return tokenizer.decode(ids, skip_special=False)


def test_published_ids_are_reproduced(golden: Any, golden_tokenizers: list[Tokenizer]):
    for tokenizer in golden_tokenizers:
        assert tuple(render([Message("user", golden.text)], tokenizer).ids) == golden.ids


def test_the_layout_read_back_is_the_family_layout(small: Tokenizer):
    assert picture(render(CHAT, small).ids, small) == (
        "<bos><start_of_turn>user\nWhat is 1?<end_of_turn>\n<start_of_turn>model\nOne.<end_of_turn>\n"
        "<start_of_turn>user\nAnd 2?<end_of_turn>\n<start_of_turn>model\n"
    )


def test_without_a_generation_prompt_the_ids_end_with_the_last_turn(small: Tokenizer):
    assert picture(render(CHAT[:2], small, add_generation_prompt=False).ids, small).endswith("One.<end_of_turn>\n")


@given(texts=st.lists(TEXT, min_size=1, max_size=5))
def test_marks_come_from_the_layout_alone(small_json: Tokenizer, texts: list[str]):
    ids = render(conversations(texts), small_json, add_generation_prompt=False).ids
    assert ids.count(small_json.bos) == 1 and ids[0] == small_json.bos
    assert ids.count(small_json.start_of_turn or -1) == len(texts)
    assert ids.count(small_json.end_of_turn or -1) == len(texts)
    assert small_json.eos not in ids


@given(texts=st.lists(TEXT, min_size=1, max_size=5))
def test_loss_falls_on_the_models_words_and_their_closing_mark(small_json: Tokenizer, texts: list[str]):
    rendered = render(conversations(texts), small_json, add_generation_prompt=False)
    expected: list[int] = []
    for text in texts[1::2]:
        expected += [*small_json.encode(text.strip()), small_json.end_of_turn or -1]
    assert [token for token, counted in zip(rendered.ids, rendered.loss, strict=True) if counted] == expected


def test_roles_tell_who_wrote_each_id(small: Tokenizer):
    rendered = render([Message("system", "Be brief."), *CHAT], small)

    def by(role: Role) -> str:
        return picture([token for token, r in zip(rendered.ids, rendered.roles, strict=True) if r is role], small)

    assert by(Role.SYSTEM) == "Be brief.\n\n"
    assert by(Role.USER) == "What is 1?And 2?"
    assert by(Role.MODEL) == "One."
    assert len(rendered.ids) == len(rendered.roles) == len(rendered.loss)


def test_system_text_is_folded_untrimmed_into_the_first_user_turn(small: Tokenizer):
    ids = render([Message("system", " Be brief. "), *CHAT], small).ids
    assert picture(ids, small).startswith("<bos><start_of_turn>user\n Be brief. \n\nWhat is 1?<end_of_turn>\n")
    assert picture(ids, small).count("Be brief") == 1


def test_the_header_keeps_its_ids_whatever_the_system_text_begins_with(small: Tokenizer):
    plain = render([Message("user", "x")], small).ids
    header = len(plain) - len(render([Message("user", "")], small).ids)
    ids = render([Message("system", "\n\nx"), Message("user", "x")], small).ids
    start = 2 + len(small.encode("user\n"))
    assert ids[:start] == plain[:start]
    assert header == len(small.encode("x"))


def test_assistant_means_model(small: Tokenizer):
    other = [Message("assistant" if message.role == "model" else message.role, message.text) for message in CHAT]
    assert render(other, small) == render(CHAT, small)


@pytest.mark.parametrize(
    ("roles", "complaint"),
    [
        ([], "no message"),
        (["model"], "message 0 is the model's"),
        (["user", "user"], "message 1 is the user's"),
        (["user", "model", "model"], "message 2 is the model's"),
        (["system", "model"], "message 1 is the model's"),
        (["user", "system"], "message 1 is a system message"),
        (["system", "system", "user"], "message 1 is a system message"),
        (["system"], "system message only"),
        (["user", "tool"], "message 1 has the role 'tool'"),
        (["user", "model"], "message 1 is already the model's"),
    ],
)
def test_conversations_out_of_order_are_refused_by_index(small: Tokenizer, roles: list[str], complaint: str):
    with pytest.raises(UserError, match=complaint) as caught:
        render([Message(role, "x") for role in roles], small)
    assert caught.value.hint


@given(texts=st.lists(TEXT, min_size=3, max_size=5).filter(lambda texts: len(texts) % 2 == 1), closed=st.booleans())
def test_a_continued_conversation_has_the_ids_of_the_whole(small_json: Tokenizer, texts: list[str], closed: bool):
    messages = conversations(texts)
    reply = small_json.encode(texts[-2].strip())
    cached = render(messages[:-2], small_json).ids + reply + [small_json.end_of_turn or -1] * closed
    assert cached + render_next(messages[-1], small_json, closed).ids == render(messages, small_json).ids


@pytest.mark.parametrize("role", ["model", "system", "tool"])
def test_only_the_user_follows_a_reply(small: Tokenizer, role: str):
    with pytest.raises(UserError, match=role):
        render_next(Message(role, "x"), small, closed=True)


@pytest.fixture(scope="module")
def base(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A vocabulary without turn marks."""
    tree = json.loads((small_folder / "tokenizer.json").read_text(encoding="utf-8"))
    turns = ("<start_of_turn>", "<end_of_turn>")
    tree["added_tokens"] = [entry for entry in tree["added_tokens"] if entry["content"] not in turns]
    for name in turns:
        tree["model"]["vocab"][name.replace("<", "<<")] = tree["model"]["vocab"].pop(name)
    folder = tmp_path_factory.mktemp("base")
    (folder / "tokenizer.json").write_text(json.dumps(tree), encoding="utf-8")
    return Tokenizer.load(folder)


def test_a_vocabulary_without_marks_cannot_hold_a_conversation(base: Tokenizer):
    assert not base.supports_turns
    with pytest.raises(UserError, match="no <start_of_turn>") as caught:
        render(CHAT, base)
    assert "gemwright generate" in caught.value.hint


def test_replies_end_at_eos_and_at_the_end_of_the_turn(small: Tokenizer, base: Tokenizer):
    assert stop_ids(small) == (1, 6)
    assert stop_ids(small, 1) == (1, 6)
    assert stop_ids(small, [1, 6]) == (1, 6)
    assert stop_ids(small, [50, 1]) == (1, 6, 50)
    assert stop_ids(base) == (1,)


@pytest.mark.parametrize("wrong", [-1, "1", [1, None], [True], [[1]]])
def test_a_senseless_stop_id_is_refused(small: Tokenizer, wrong: Any):
    with pytest.raises(UserError, match="eos_token_id"):
        stop_ids(small, wrong)


@pytest.mark.gemma
def test_a_real_folder_gives_the_published_ids(gemma_folder: Path, golden: Any):
    tokenizer = Tokenizer.load(gemma_folder)
    if tokenizer.start_of_turn != golden.ids[1]:
        pytest.skip("the sequence is of the other vocabulary")
    assert tuple(render([Message("user", golden.text)], tokenizer).ids) == golden.ids


@pytest.mark.gemma
def test_both_forms_of_a_real_folder_give_the_same_ids(gemma_folder: Path):
    if not all((gemma_folder / f"tokenizer.{form}").is_file() for form in ("json", "model")):
        pytest.skip("the folder holds one form only")
    text = "def f(x):\n\n\n    return  12\t\t# naïve 漢字 🧠" + " " * 40 + "<end_of_turn>"
    assert Tokenizer.load(gemma_folder, "json").encode(text) == Tokenizer.load(gemma_folder, "model").encode(text)
