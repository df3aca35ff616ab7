"""Ids into text as they arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemwright.text.stream import TextStream
from gemwright.text.tokenizer import Tokenizer

IDS = st.lists(st.one_of(st.integers(0, 1199), st.integers(0, 330), st.sampled_from([0x80, 0xBF, 0xC3, 0xE2, 0xF0])))
EMOJI = "naïve 漢字 🧠👩‍🚀"


@given(ids=IDS, skip=st.booleans())
def test_the_parts_joined_are_the_decoded_whole(small_json: Tokenizer, ids: list[int], skip: bool):
    stream = TextStream(small_json, skip_special=skip)
    parts = [stream.push(token) for token in ids] + [stream.flush()]
    whole = small_json.decode(ids, skip_special=skip)
    assert "".join(parts) == whole
    assert any("\ufffd" in part for part in parts) == ("\ufffd" in whole)


def test_a_character_comes_out_with_its_last_byte(small_json: Tokenizer):
    ids = small_json.encode("漢")
    assert len(ids) == 3
    stream = TextStream(small_json)
    assert [stream.push(token) for token in ids] == ["", "", "漢"]


def test_no_part_of_whole_characters_is_a_replacement_character(small_json: Tokenizer):
    stream = TextStream(small_json)
    parts = [stream.push(token) for token in small_json.encode(EMOJI)]
    assert "".join(parts) == EMOJI
    assert not any("\ufffd" in part for part in parts)
    assert stream.flush() == ""


def test_plain_text_is_shown_without_delay(small_json: Tokenizer):
    stream = TextStream(small_json)
    for token in small_json.encode("def main(self): return 12"):
        assert stream.push(token) == small_json.decode([token])


def test_a_cut_character_comes_out_at_the_end_and_the_stream_starts_afresh(small_json: Tokenizer):
    stream = TextStream(small_json)
    first, *rest = small_json.encode("漢")
    assert stream.push(first) == ""
    assert stream.flush() == "\ufffd"
    assert [stream.push(token) for token in (first, *rest)][-1] == "漢"


def test_marks_are_shown_on_demand_only(small_json: Tokenizer):
    assert TextStream(small_json).push(small_json.eos) == ""
    assert TextStream(small_json, skip_special=False).push(small_json.eos) == "<eos>"


def test_an_id_outside_the_vocabulary_is_a_misuse(small_json: Tokenizer):
    with pytest.raises(ValueError, match="outside the vocabulary"):
        TextStream(small_json).push(1200)
