"""Constraints against plain definitions: which ids may come is what lists of whole texts say."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gemwright.engine import constrain
from gemwright.engine.constrain import Constraint
from gemwright.engine.grammar import Grammar
from gemwright.errors import UserError
from gemwright.text import backends
from gemwright.text.tokenizer import Tokenizer

pytest.importorskip("llguidance")
ROWS = 320  # of a model's table: more than the tokenizer's 303 pieces
TEXTS = st.lists(st.text(st.sampled_from('ab the"\\\n\té漢<>/|\x01'), min_size=1, max_size=6), min_size=1, max_size=5)


def start(grammar: Grammar, tokenizer: Tokenizer, ends: tuple[int, ...] | None = None) -> Constraint:
    return Constraint(grammar, tokenizer, vocab=ROWS, ends=ends)


def allowed(constraint: Constraint) -> set[int]:
    return set(constraint.mask().nonzero().flatten().tolist())


def ends(tokenizer: Tokenizer) -> set[int]:
    assert tokenizer.end_of_turn is not None
    return {tokenizer.eos, tokenizer.end_of_turn}


def expected(texts: list[str], before: bytes, tokenizer: Tokenizer) -> set[int]:
    """By definition: an id may come if some text begins with what is there and the id's bytes."""
    wanted = [text.encode() for text in texts]
    plain = set(range(tokenizer.vocab_size)) - tokenizer.special_ids
    found = {id for id in plain if any(text.startswith(before + tokenizer.bytes_of(id)) for text in wanted)}
    return found | (ends(tokenizer) if before in wanted else set())


def walk(constraint: Constraint, texts: list[str], tokenizer: Tokenizer, seed: int) -> bytes:
    """Draws at random to the end; every mask on the way is what the texts say."""
    draw, before = random.Random(seed), b""
    while not constraint.done:
        now, forced = allowed(constraint), constraint.forced()
        everything = expected(texts, before, tokenizer)
        assert now == ({forced[0]} if forced else everything) and now <= everything
        id = draw.choice(sorted(now))
        constraint.take(id)
        before += b"" if id in tokenizer.special_ids else tokenizer.bytes_of(id)
    return before


@given(texts=TEXTS, seed=st.integers(0, 1000))
def test_the_mask_of_choices_is_every_continuation_of_one(tokenizer: Tokenizer, texts: list[str], seed: int) -> None:
    said = walk(start(Grammar.choices(texts), tokenizer), texts, tokenizer, seed)
    assert said.decode() in texts


@pytest.mark.parametrize(
    ("grammar", "texts"),
    [
        (Grammar.regex("(ab|a)c{1,2}"), ["abc", "abcc", "ac", "acc"]),
        (Grammar.regex("the/r[e]?"), ["the/r", "the/re"]),
        (Grammar.regex("é|漢\n"), ["é", "漢\n"]),
        (Grammar.lark('start: a b?\na: "the" | "then"\nb: " on"'), ["the", "then", "the on", "then on"]),
        (Grammar.schema({"enum": ["a", 1, None]}), ['"a"', "1", "null"]),
        (Grammar.schema({"type": "array", "items": {"type": "boolean"}, "maxItems": 1}), ["[]", "[true]", "[false]"]),
        (Grammar.schema({"type": "integer", "minimum": 2, "maximum": 21}), [str(n) for n in range(2, 22)]),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_the_mask_of_any_grammar_is_every_continuation(
    tokenizer: Tokenizer, grammar: Grammar, texts: list[str], seed: int
) -> None:
    assert walk(start(grammar, tokenizer), texts, tokenizer, seed).decode() in texts


def test_a_mask_has_a_row_of_the_table_each_and_padding_is_forbidden(tokenizer: Tokenizer) -> None:
    mask = start(Grammar.regex("(.|\n)*"), tokenizer).mask()
    assert mask.shape == (ROWS,) and mask.dtype == torch.bool
    assert not mask[tokenizer.vocab_size :].any()
    assert mask[[tokenizer.encode("a")[0], *ends(tokenizer)]].all()
    assert not mask[sorted(tokenizer.special_ids - ends(tokenizer))].any()


def test_logits_are_masked_in_place(tokenizer: Tokenizer) -> None:
    logits = torch.randn(ROWS)
    before, constraint = logits.clone(), start(Grammar.regex("[ab]"), tokenizer)
    constraint.apply(logits)
    mask = constraint.mask()
    assert torch.equal(logits[mask], before[mask])
    assert (logits[~mask] == float("-inf")).all() and mask.sum() == 4  # each letter as a piece and as a byte


def spell(constraint: Constraint, text: str, tokenizer: Tokenizer) -> None:
    for id in tokenizer.encode(text):
        constraint.take(id)


def test_an_answer_ends_where_nothing_can_follow_or_an_end_mark_came(tokenizer: Tokenizer) -> None:
    constraint = start(Grammar.regex("ab?"), tokenizer)
    assert not constraint.done and not constraint.complete
    spell(constraint, "a", tokenizer)
    assert constraint.complete and not constraint.done
    ended = constraint.copy()
    ended.take(tokenizer.eos)
    spell(constraint, "b", tokenizer)
    for over in (ended, constraint):
        assert over.done and over.complete and over.forced() == []
        with pytest.raises(ValueError, match="complete"):
            over.mask()
    with pytest.raises(ValueError, match="after the end"):
        ended.take(tokenizer.eos)


def test_only_special_ids_can_be_end_marks(tokenizer: Tokenizer) -> None:
    letter = tokenizer.encode("a")[0]
    constraint = start(Grammar.regex("b*"), tokenizer, ends=(letter, tokenizer.eos))
    assert allowed(constraint) & {letter, *ends(tokenizer)} == {tokenizer.eos}
    assert not allowed(start(Grammar.regex("b*"), tokenizer, ends=())) & ends(tokenizer)


def test_an_id_that_may_not_come_is_refused_and_nothing_has_changed(tokenizer: Tokenizer) -> None:
    constraint = start(Grammar.choices(["then", "thin"]), tokenizer)
    spell(constraint, "th", tokenizer)
    before = allowed(constraint)
    for id in (*tokenizer.encode("x"), tokenizer.bos, tokenizer.eos, tokenizer.vocab_size, ROWS, -1):
        with pytest.raises(ValueError, match="may not come"):
            constraint.take(id)
    assert allowed(constraint) == before and constraint.taken == len(tokenizer.encode("th"))


def test_forced_ids_are_the_tokenizers_own_cut_of_what_must_come(tokenizer: Tokenizer) -> None:
    schema = {"type": "object", "properties": {"the": {"enum": [True, None]}}, "required": ["the"]}
    constraint = start(Grammar.schema(schema | {"additionalProperties": False}), tokenizer)
    assert constraint.forced() == tokenizer.encode('{"the":')
    for id in constraint.forced():
        constraint.take(id)
    assert constraint.forced() == []
    spell(constraint, "n", tokenizer)
    assert tokenizer.decode(constraint.forced()) == "ull}"


def test_what_may_be_left_out_is_never_forced(tokenizer: Tokenizer) -> None:
    constraint = start(Grammar.regex("a(bc)?"), tokenizer)
    spell(constraint, "a", tokenizer)
    assert constraint.forced() == []


def test_a_copy_goes_its_own_way(tokenizer: Tokenizer) -> None:
    one = start(Grammar.choices(["ab", "cd"]), tokenizer)
    other = one.copy()
    spell(one, "a", tokenizer)
    spell(other, "c", tokenizer)
    assert [tokenizer.decode(constraint.forced()) for constraint in (one, other)] == ["b", "d"]


def test_a_grammar_that_outgrows_its_limits_is_no_end_of_the_answer(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constrain, "LEXER_STATES", 1000)
    letters, draw = tokenizer.encode("ab"), random.Random(0)
    constraint = start(Grammar.regex("(a|b)*a(a|b){30}c"), tokenizer)
    with pytest.raises(UserError, match="any further"):
        for _ in range(5000):
            constraint.mask()
            constraint.take(draw.choice(letters))
            assert not constraint.done
    assert constraint.forced() == [] and not constraint.done


def test_json_is_compact(tokenizer: Tokenizer) -> None:
    constraint = start(Grammar.json_object(), tokenizer)
    spell(constraint, "{", tokenizer)
    assert {tokenizer.bytes_of(id) for id in allowed(constraint)} == {b'"', b"}"}


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        (Grammar.regex("("), "unclosed group"),
        (Grammar.regex(r"a(?=b)"), "look-ahead"),
        (Grammar.regex(r"[^\s\S]"), "no text follows it"),
        (Grammar.regex("\ud800"), "surrogates"),
        (Grammar.regex("(" * 90_000 + ")" * 90_000), "invalid regex"),
        (Grammar.lark("other: /a/"), "no start rule"),
        (Grammar.lark('start: a\na: a "x" | b\nb: a'), "no text follows it"),
        (Grammar.lark("start: " + "(" * 50_000 + '"a"' + ")" * 50_000), "too deeply nested"),
        (Grammar.lark("start: %json " + '{"items":' * 3000 + "{}" + "}" * 3000), "recursion limit"),
        (Grammar.schema({"type": "string", "minLength": 5, "maxLength": 2}), "Unsatisfiable"),
        (Grammar.schema({"allOf": [{"type": "string"}, {"type": "number"}]}), "Unsatisfiable"),
        (Grammar.schema({"$ref": "http://somewhere/else"}), "somewhere"),
        (Grammar.schema({"$ref": "#/$defs/no"}), "does not exist"),
        (Grammar.schema({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (Grammar.schema({"type": "object", "properties": {str(n): {"type": "null"} for n in range(1500)}}), "items"),
    ],
)
def test_a_grammar_that_cannot_be_followed_is_refused_in_a_few_words(
    tokenizer: Tokenizer, grammar: Grammar, words: str
) -> None:
    with pytest.raises(UserError, match=words) as refusal:
        start(grammar, tokenizer)
    assert len(str(refusal.value)) < 400 and "\n" not in str(refusal.value)


def test_a_grammar_that_no_token_can_follow_says_so(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="no token"):
        start(Grammar.lark("start: <bos>"), tokenizer).mask()


def test_keywords_that_cannot_be_enforced_are_left_out_on_request(tokenizer: Tokenizer) -> None:
    schema = {"type": "string", "format": "int32", "maxLength": 0}
    with pytest.raises(UserError, match="int32"):
        start(Grammar.schema(schema), tokenizer)
    assert tokenizer.decode(start(Grammar.schema(schema, strict=False), tokenizer).forced()) == '""'


def test_without_the_extra_the_message_says_what_to_install(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UserError, match=r"gemwright\[serve\]"):
        start(Grammar.regex("a"), tokenizer)


def test_equal_vocabularies_are_built_once(tokenizer: Tokenizer) -> None:
    again = Tokenizer.load(tokenizer.source)
    assert again is not tokenizer
    assert constrain.vocabulary(again) is constrain.vocabulary(tokenizer)


def made(pieces: list[str]) -> Tokenizer:
    """A tokenizer of these pieces that cuts every text into bytes."""
    names = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    loaded = backends.Loaded(
        pieces=names,
        encode=lambda text: [4 + byte for byte in text.encode()],
        special=frozenset(names[:4]),
        unparsed=frozenset([*names[:4], *(name for name in pieces if name.startswith("<unused"))]),
    )
    return Tokenizer(loaded, Path("made"), {})


def test_reserved_names_are_never_written_as_text() -> None:
    tokenizer = made(["<unused0>", "plain"])
    mask = Constraint(Grammar.regex(".*"), tokenizer, vocab=262).mask()
    assert mask[261] and not mask[260]


def test_a_vocabulary_of_the_largest_size_is_served_to_its_last_id() -> None:
    size = 262_144
    tokenizer = made([f"<unused{index}>" for index in range(6000)] + [f"▁w{index}" for index in range(size - 6260)])
    assert tokenizer.vocab_size == size
    constraint = Constraint(Grammar.regex(r" w[0-9]+"), tokenizer, vocab=size + 64)
    mask = constraint.mask()
    assert int(mask.sum()) == size - 6260 + 1  # every word, and the space as a byte
    assert mask[size - 1] and not mask[size:].any()
    constraint.take(size - 1)
    assert allowed(constraint) == {tokenizer.eos, *(4 + byte for byte in b"0123456789")}


def test_a_table_shorter_than_the_vocabulary_bounds_the_ids() -> None:
    tokenizer = made(["aa", "aaa"])
    constraint = Constraint(Grammar.regex("a{2,3}"), tokenizer, vocab=261)
    assert allowed(constraint) == {4 + ord("a"), 260}
    with pytest.raises(ValueError, match="may not come"):
        constraint.take(261)


def test_json_text_parses_whatever_is_drawn(tokenizer: Tokenizer) -> None:
    schema = {"type": "array", "items": {"type": "string", "maxLength": 5}, "minItems": 3, "maxItems": 3}
    draw, constraint, ids = random.Random(5), start(Grammar.schema(schema), tokenizer), list[int]()
    while not constraint.done:
        ids.append(draw.choice(sorted(allowed(constraint))))
        constraint.take(ids[-1])
    found = json.loads(tokenizer.decode(ids))
    assert len(found) == 3 and all(len(text) <= 5 for text in found)
