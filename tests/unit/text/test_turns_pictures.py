"""Pictures in conversations: where they stand, what stands around them, and that no text can make one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import Gemma3Processor

from gemwright.errors import UserError
from gemwright.text.template import BUILT_IN, ChatTemplate
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import Message, Rendered, Role, render, render_next, render_text, soft_id

SOFT = 4
ONE = "\n\n<start_of_image><image_soft_token><image_soft_token><image_soft_token><image_soft_token><end_of_image>\n\n"
MARKS = ("<start_of_image>", "<end_of_image>", "<image_soft_token>", "<end_of_turn>", "\n\n", "a", " ", "é")
TEXT = st.lists(st.sampled_from(MARKS), max_size=6).map("".join)


@dataclass(frozen=True)
class Cut:
    """A picture of several views."""

    views: tuple[str, ...]


def read_back(rendered: Rendered, tokenizer: Tokenizer) -> str:
    soft = soft_id(tokenizer)
    shown = ["<image_soft_token>" if id == soft else tokenizer.decode([id], skip_special=False) for id in rendered.ids]
    return "".join(shown)


def turn(text: str) -> str:
    return f"<bos><start_of_turn>user\n{text}<end_of_turn>\n<start_of_turn>model\n"


def by_transformers(crops: int) -> str:
    """What transformers' processor writes in place of a picture."""
    return Gemma3Processor.replace_image_token(
        SimpleNamespace(full_image_sequence=ONE),  # type: ignore[arg-type]
        {"num_crops": [crops]},
        0,
    )


def test_a_picture_comes_before_the_text(small: Tokenizer):
    rendered = render([Message("user", " What? ", ("cat",))], small, soft=SOFT)
    assert read_back(rendered, small) == turn(by_transformers(0) + "What?")
    ((first, shown),) = rendered.images
    assert shown == "cat" and rendered.ids[first : first + SOFT] == [soft_id(small)] * SOFT
    assert rendered.ids[first - 1] == small.start_of_image and rendered.ids[first + SOFT] == small.end_of_image


def test_pictures_stand_where_the_text_says(small: Tokenizer):
    text = "This <start_of_image> or <start_of_image>?"
    rendered = render([Message("user", text, ("cat", "dog"))], small, soft=SOFT)
    assert read_back(rendered, small) == turn(text.replace("<start_of_image>", by_transformers(0)))
    assert [shown for _, shown in rendered.images] == ["cat", "dog"]


@pytest.mark.parametrize("crops", [1, 2, 4])
def test_crops_are_introduced_in_transformers_words(small: Tokenizer, crops: int):
    names = tuple("abcde"[: crops + 1])
    rendered = render([Message("user", "What?", (Cut(names),))], small, soft=SOFT)
    assert read_back(rendered, small) == turn(by_transformers(crops) + "What?")
    assert tuple(shown for _, shown in rendered.images) == names


@pytest.mark.parametrize(("said", "pictures"), [(1, 2), (2, 1), (3, 2)])
def test_another_number_of_marks_than_pictures_is_refused(small: Tokenizer, said: int, pictures: int):
    shown = "1 picture is shown" if pictures == 1 else f"{pictures} pictures are shown"
    with pytest.raises(UserError, match=f"{said} times, {shown}"):
        render([Message("user", "<start_of_image>" * said, ("x",) * pictures)], small, soft=SOFT)


@given(texts=st.lists(TEXT, min_size=1, max_size=5), shown=st.integers(0, 3))
def test_text_makes_no_picture(small_json: Tokenizer, texts: list[str], shown: int):
    """However many names of marks are in it, in messages with and without pictures."""
    images = tuple("abc"[:shown])
    texts[0] = texts[0].replace("<start_of_image>", "")
    messages = [
        Message("model" if index % 2 else "user", text, () if index else images) for index, text in enumerate(texts)
    ]
    rendered = render(messages, small_json, add_generation_prompt=False, soft=SOFT)
    assert rendered.ids.count(small_json.start_of_image or -1) == shown == len(rendered.images)
    assert rendered.ids.count(small_json.end_of_image or -1) == shown
    assert rendered.ids.count(soft_id(small_json)) == shown * SOFT


def test_nothing_around_a_picture_is_trained_on_and_its_tokens_are_the_users(small: Tokenizer):
    messages = [Message("user", "What?", ("cat",)), Message("model", "A cat.")]
    rendered = render(messages, small, add_generation_prompt=False, soft=SOFT)
    plain = render([Message("user", "What?"), messages[1]], small, add_generation_prompt=False)
    assert sum(rendered.loss) == sum(plain.loss)
    ((first, _),) = rendered.images
    assert set(rendered.roles[first : first + SOFT]) == {Role.USER}
    assert not any(rendered.loss[: first + SOFT + 2])


@pytest.mark.parametrize("closed", [True, False])
def test_a_continued_conversation_has_the_pictures_of_the_whole(small_json: Tokenizer, closed: bool):
    messages = [Message("user", "a", ("cat",)), Message("model", "b"), Message("user", "c", ("dog", "hen"))]
    whole = render(messages, small_json, soft=SOFT)
    before = render(messages[:1], small_json, soft=SOFT)
    begin = before.ids + small_json.encode("b") + [small_json.end_of_turn or -1] * closed
    rest = render_next(messages[-1], small_json, closed, soft=SOFT)
    assert begin + rest.ids == whole.ids
    assert before.images + [(len(begin) + first, shown) for first, shown in rest.images] == whole.images
    assert len(before.ids) + len("b") + closed + len(rest.ids) == len(whole.ids)


@pytest.mark.parametrize("begins", ["{{ bos_token }}", ""])
def test_a_template_of_the_checkpoint_gets_the_same_pictures(small: Tokenizer, begins: str):
    """Also where it writes no `<bos>`, which shifts all places."""
    template = ChatTemplate(BUILT_IN.replace("{{ bos_token }}", begins), {"bos_token": "<bos>"})
    cut = Cut(("x", "y"))
    messages = [Message("system", "Be."), Message("user", "a<start_of_image>b", (cut,)), Message("model", "c")]
    messages.append(Message("user", "d", ("dog",)))
    found, expected = (by(messages, small, soft=SOFT) for by in (template.render, render))
    assert (found.ids, found.images) == (expected.ids, expected.images)


@pytest.mark.parametrize("by_template", [False, True])
@pytest.mark.parametrize("role", ["system", "model"])
def test_only_the_user_shows_pictures(small: Tokenizer, role: str, by_template: bool):
    template = ChatTemplate(BUILT_IN, {"bos_token": "<bos>"})
    messages = [Message("user", "a"), Message("model", "b"), Message("user", "c")]
    messages = [Message("system", "s"), *messages] if role == "system" else messages
    at = [message.role for message in messages].index(role)
    messages[at] = Message(role, "x", ("cat",))
    with pytest.raises(UserError, match=f"message of the {role} has 1 pictures"):
        (template.render if by_template else render)(messages, small, soft=SOFT)


def test_a_plain_text_with_pictures_is_kept_as_it_is(small: Tokenizer):
    rendered = render_text("  x\n<start_of_image>", ["cat"], small, SOFT)
    assert read_back(rendered, small) == "<bos>  x\n" + ONE
    assert len(rendered.images) == 1


def test_pictures_without_their_number_of_tokens_are_misuse(small: Tokenizer):
    with pytest.raises(ValueError, match="soft tokens"):
        render([Message("user", "a", ("cat",))], small)


def test_a_vocabulary_without_image_marks_is_shown_no_picture(small_folder: Path, tmp_path: Path):
    text = (small_folder / "tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(text.replace("_of_image>", "_of_other>"), encoding="utf-8")
    with pytest.raises(UserError, match="no <start_of_image>"):
        render([Message("user", "a", ("cat",))], Tokenizer.load(tmp_path), soft=SOFT)


def test_the_id_of_soft_tokens_is_the_published_one(golden_tokenizers: list[Tokenizer]):
    """Also in a vocabulary file that ends before it."""
    for tokenizer in golden_tokenizers:
        if tokenizer.start_of_image is not None:
            assert soft_id(tokenizer) == 262_144
