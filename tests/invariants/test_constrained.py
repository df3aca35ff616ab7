"""Answers under a grammar: whatever the model is, what it says follows the grammar, and no shortcut shows in it."""

from __future__ import annotations

import json
import random

import pytest
import schemas
import small
import torch
from equivalence import equivalence
from schedules import plain, tokenizer
from torch import Tensor

from gemwright.cache.allocate import allocate
from gemwright.engine.constrain import Constraint
from gemwright.engine.grammar import Grammar
from gemwright.nn.head import Head
from gemwright.text import calls, tools

pytest.importorskip("llguidance")
LONGEST = 1000  # tokens of an answer; the longest of the thousand has about 250
SHARE = 5  # schemas for each family; in a soak fifty times as many


def constraint(grammar: Grammar) -> Constraint:
    return Constraint(grammar, tokenizer(), vocab=tokenizer().vocab_size + 9)


def last(hidden: Tensor, head: Head) -> Tensor:
    return head.logits(hidden[-1:])[0]


def answer(name: str, state: Constraint, seed: int) -> list[int]:
    """Drawn by the model at temperature 1, forced ids without asking it."""
    generator = torch.Generator().manual_seed(seed)
    memory = allocate(plain(name).spec, sequences=1, tokens=LONGEST, dtype=torch.float32)
    handle, ids, new = memory.open(), list[int](), [tokenizer().bos]
    with torch.inference_mode():
        while not state.done and len(ids) < LONGEST - 40:
            step = memory.prepare([handle], [len(new)])
            logits = plain(name)(torch.tensor(new), step.span, memory=step, use=last)
            step.commit()
            state.apply(logits)
            new = [int(torch.multinomial(logits.softmax(-1), 1, generator=generator))]
            state.take(new[0])
            for id in state.forced():
                state.take(id)
                new.append(id)
            ids += new
    assert state.done
    return ids


def check(name: str, seed: int) -> None:
    schema = schemas.schema(seed)
    text = tokenizer().decode(answer(name, constraint(Grammar.schema(schema)), seed))
    assert schemas.follows(json.loads(text), schema, schema), (text, schema)
    assert json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False).count(" ") == text.count(" ")


@pytest.mark.feature("structured output")
@pytest.mark.parametrize("seed", range(SHARE))
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("an answer drawn under a schema = one that parses and follows it", "bit")
def test_schemas(name: str, seed: int) -> None:
    check(name, small.NAMES.index(name) + len(small.NAMES) * seed)


@pytest.mark.soak
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("a thousand answers drawn under schemas = ones that parse and follow them", "bit")
def test_a_thousand_schemas(name: str) -> None:
    for seed in range(SHARE * 50):
        check(name, small.NAMES.index(name) + len(small.NAMES) * seed)


@pytest.mark.parametrize("seed", range(40))
@equivalence("what our reader of schemas says of a value = what jsonschema says", "bit")
def test_the_reader(seed: int) -> None:
    """Of values that follow their schema, and of such with a part changed."""
    validator = pytest.importorskip("jsonschema").Draft202012Validator(schemas.schema(seed))
    draw, state, ids = random.Random(seed), constraint(Grammar.schema(schemas.schema(seed))), list[int]()
    while not state.done:
        for id in state.forced() or [draw.choice(state.mask().nonzero().flatten().tolist())]:
            state.take(id)
            ids.append(id)
    value = json.loads(tokenizer().decode(ids))
    assert validator.is_valid(value)
    for one in [value, *(schemas.damaged(value, number) for number in range(50))]:
        assert schemas.follows(one, schemas.schema(seed), schemas.schema(seed)) == validator.is_valid(one), one


def walk(grammar: Grammar, seed: int) -> list[Constraint]:
    """The places of a random answer, first to last, without what the model is not asked for."""
    draw, state, places = random.Random(seed), constraint(grammar), list[Constraint]()
    while not state.done:
        places.append(state.copy())
        for id in state.forced() or [draw.choice(state.mask().nonzero().flatten().tolist())]:
            state.take(id)
    return places


def accepts(state: Constraint, id: int) -> bool:
    try:
        state.copy().take(id)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("seed", range(6))
@equivalence("the mask of all ids = each id tried alone", "bit")
def test_masks(seed: int) -> None:
    places = [place for place in walk(Grammar.schema(schemas.schema(seed)), seed) if not place.forced()]
    for place in random.Random(seed).sample(places, min(5, len(places))):
        alone = torch.tensor([accepts(place, id) for id in range(tokenizer().vocab_size + 9)])
        assert torch.equal(place.mask(), alone)


@pytest.mark.parametrize("seed", range(6))
@equivalence("forced ids taken at once = their text taken byte by byte", "bit")
def test_forced(seed: int) -> None:
    walks = [walk(Grammar.schema(schemas.schema(seed)), seed + 6 * turn) for turn in range(8)]  # one may be just {}
    places = [place for found in walks for place in found if place.forced()]
    assert places
    for place in places:
        forced, slowly = place.forced(), place.copy()
        for id in forced:
            place.take(id)
        for byte in b"".join(tokenizer().bytes_of(id) for id in forced):
            slowly.take(single(byte))
        assert place.done == slowly.done
        assert place.done or torch.equal(place.mask(), slowly.mask())


def single(byte: int) -> int:
    """The id of one byte."""
    id = tokenizer().id_of(f"<0x{byte:02X}>")
    assert id is not None
    return id


@pytest.mark.parametrize("seed", range(6))
@equivalence("an answer gone back on = one never gone on with", "bit")
def test_copies(seed: int) -> None:
    """A draft of ten ids is tried from every place and given up."""
    grammar, draw = Grammar.schema(schemas.schema(seed)), random.Random(seed)
    untouched = walk(grammar, seed)
    for place, other in zip(untouched, walk(grammar, seed), strict=True):
        draft = other.copy()
        for _ in range(10):
            if not draft.done:
                draft.take(draw.choice(draft.mask().nonzero().flatten().tolist()))
        assert torch.equal(place.mask(), other.mask()) and place.forced() == other.forced()


OFFERED = tools.read_tools(
    [
        {"type": "function", "name": "get_a", "parameters": schemas.schema(3)},
        {"type": "function", "name": "get_ab", "parameters": schemas.schema(4), "strict": True},
        {"type": "function", "name": "none"},
    ]
)


@pytest.mark.feature("structured output")
@pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "name": "get_ab"}])
@pytest.mark.parametrize("name", small.NAMES)
@equivalence("calls drawn under the grammar of tools = calls read from the reply", "bit")
def test_tools(name: str, choice: object) -> None:
    chosen = tools.read_choice(choice, OFFERED)
    grammar = tools.grammar(OFFERED, chosen)
    assert grammar is not None
    for seed in range(1):
        state, begun = constraint(Grammar.lark(grammar)), list[int]()
        if chosen.mode == "auto":  # a random model would rather speak: have it begin a call
            begun = [single(ord("{"))]
            state.take(begun[0])
            for id in state.forced():
                state.take(id)
                begun.append(id)
        reply = calls.parse(tokenizer().decode(begun + answer(name, state, seed)), [tool.name for tool in OFFERED])
        assert reply.calls and (reply.text, reply.problems) == ("", ())
        parameters = {tool.name: tool.parameters for tool in OFFERED}
        for call in reply.calls:
            assert chosen.mode != "named" or call.name == chosen.name
            rule = {"required": []} | parameters[call.name]
            assert schemas.follows(call.values, rule, rule)
