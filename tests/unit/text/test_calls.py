"""A reply into text and calls: what counts as a call, and that no cut of the reply changes what comes out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gemwright.text.calls import Arguments, Begin, Broken, Call, CallStream, End, Part, Reply, Text, parse

NAMES = ("f", "get_weather")
ONE = '{"name": "f", "parameters": {"a": [1, "}]\\""]}}'
TWO = '{"name":"get_weather","arguments":{}}'
CALLS = (Call("f", '{"a": [1, "}]\\""]}'), Call("get_weather", "{}"))

# Scraps that openings of calls are made of, so that random replies come close to calls and are calls at times.
SCRAPS = [
    "\n",
    " ",
    "\t",
    "```json\n",
    "```",
    "`",
    "[",
    "]",
    ",",
    "{",
    "}",
    '"name"',
    ":",
    '"f"',
    '"nope"',
    '"parameters"',
]
SCRAPS += [
    '"',
    "\\",
    "word",
    "é漢🧠",
    '{"name":"f","parameters":{',
    '{"name": "f", "arguments": {}}',
    ONE,
    TWO,
    "1",
    "NaN",
]
REPLIES = st.lists(st.sampled_from(SCRAPS), max_size=14).map("".join)


def joined(parts: Sequence[Part]) -> list[Part]:
    """Neighbours of one kind as one part."""
    out: list[Part] = []
    for part in parts:
        last = out[-1] if out else None
        if isinstance(part, Text) and isinstance(last, Text) and not part.reason and not last.reason:
            out[-1] = Text(last.text + part.text)
        elif isinstance(part, Arguments) and isinstance(last, Arguments):
            out[-1] = Arguments(part.index, last.text + part.text)
        else:
            out.append(part)
    return out


def streamed(pieces: Sequence[str]) -> list[Part]:
    stream = CallStream(NAMES)
    return joined([part for piece in pieces for part in stream.push(piece)] + stream.flush())


def cut(text: str, places: Sequence[int]) -> list[str]:
    marks = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[begin:end] for begin, end in pairwise(marks)]


@given(text=REPLIES, places=st.lists(st.integers(0, 500), max_size=8))
@example(text=f"Sure!\n```json\n[\n {ONE},\n {TWO}\n]\n```\nDone.", places=list(range(200)))
def test_any_cut_gives_the_same_parts(text: str, places: list[int]) -> None:
    whole = streamed([text])
    assert streamed(cut(text, places)) == whole
    assert streamed(list(text)) == whole


@given(text=REPLIES)
def test_every_begun_call_ends_or_breaks_and_its_arguments_are_told_in_full(text: str) -> None:
    begun: list[tuple[int, str, str]] = []
    for part in streamed(list(text)):
        if isinstance(part, Begin):
            begun.append((part.index, part.name, ""))
        elif isinstance(part, Arguments):
            index, name, said = begun.pop()
            begun.append((index, name, said + part.text))
        elif isinstance(part, End):
            index, name, said = begun.pop()
            assert (part.index, part.call) == (index, Call(name, said)) and isinstance(part.call.values, dict)
        elif isinstance(part, Broken):
            index, name, said = begun.pop()
            assert part.index == index and said in part.text and part.reason
        else:
            assert not begun and part.text
    assert not begun


@given(text=REPLIES)
def test_nothing_but_calls_and_what_surrounds_them_is_dropped(text: str) -> None:
    reply = parse(text, NAMES)
    if not reply.calls:
        assert reply.text == text
    kept = iter(text)
    assert all(character in kept for character in reply.text)  # in this order
    assert text.count("word") == reply.text.count("word")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    calls=st.lists(
        st.tuples(st.sampled_from(NAMES), st.dictionaries(st.text(max_size=5), JSON, max_size=3)), max_size=4
    ),
    indent=st.sampled_from([None, 1]),
    form=st.sampled_from(["%s", "```json\n%s\n```", " \n%s\n\n"]),
    listed=st.booleans(),
)
def test_written_calls_are_read_back(
    calls: list[tuple[str, dict[str, object]]], indent: int | None, form: str, listed: bool
) -> None:
    objects = [{"name": name, "parameters": values} for name, values in calls]
    written = json.dumps(objects, indent=indent) if listed else "\n".join(json.dumps(o, indent=indent) for o in objects)
    reply = parse(form % written, NAMES)
    if calls:
        assert (reply.text, reply.problems) == ("", ())
    assert [(call.name, call.values) for call in reply.calls] == calls


def test_text_around_calls_is_kept() -> None:
    assert parse(f"Sure!\n```json\n[{ONE},\n {TWO}]\n```\nDone.", NAMES) == Reply("Sure!\nDone.", CALLS, ())


def test_arguments_come_as_they_are_written() -> None:
    stream = CallStream(NAMES)
    assert stream.push('{"name": "f", "parameters": {"a": ') == [Begin(0, "f"), Arguments(0, '{"a": ')]
    assert stream.push("1") == [Arguments(0, "1")]
    assert stream.push("}") == [Arguments(0, "}")]
    assert stream.push("}\n") == [End(0, Call("f", '{"a": 1}'))]
    assert stream.push(TWO) == [Begin(1, "get_weather"), Arguments(1, "{}"), End(1, CALLS[1])]
    assert stream.flush() == []


def test_words_are_shown_without_delay_and_line_breaks_with_what_follows() -> None:
    stream = CallStream(NAMES)
    assert stream.push("Hello") == [Text("Hello")]
    assert stream.push(" there.\n") == [Text(" there.")]
    assert stream.push("And") == [Text("\nAnd")]
    assert stream.push(' {"name": "f"') == [Text(' {"name": "f"')]  # not at the start of a line
    assert stream.flush() == []


@pytest.mark.parametrize("blank", ["\n", " ", "\n \t"])
def test_endless_white_space_is_not_held_back(blank: str) -> None:
    stream = CallStream(NAMES)
    shown = "".join(part.text for _ in range(100) for part in stream.push(blank) if isinstance(part, Text))
    assert len(shown) > len(blank) * 100 - 100
    assert parse(blank * 100, NAMES).text == blank * 100


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"name": "nope", "parameters": {}}', "no tool is called 'nope'"),
        ('{"name": "f"}', "agreed form"),
        ('{"name": "f", "values": {}}', "'values' where its parameters"),
        ('{"name": "f", "parameters": [1]}', "agreed form"),
        ('{"name": "f", ' + " " * 600 + '"parameters": {}}', "agreed form"),
        ('`{"name": "f", "parameters": {}}`', "agreed form"),
        ('{"name":', "cut short"),
        ('{"name": "f", "parameters": {"a": 1', "cut short"),
        ('{"name": "f", "parameters": {}', "cut short"),
        ('{"name": "f", "parameters": {"a": ]}}', "not opened"),
        ('{"name": "f", "parameters": {"a": }}', "no JSON object"),
        ('{"name": "f", "parameters": {"a": NaN}}', "NaN is no JSON"),
        ('{"name": "f", "parameters": {"a": ' + "[" * 5000 + "]" * 5000 + "}}", "no JSON object"),
        ('{"name": "f", "parameters": {}, "id": 3}', "goes on"),
    ],
)
def test_what_looks_like_a_call_and_is_none_is_text_with_a_reason(text: str, reason: str) -> None:
    reply = parse(text + "\nMore.", NAMES) if "cut" not in reason else parse(text, NAMES)
    assert not reply.calls and reply.text.removesuffix("\nMore.") == text
    assert len(reply.problems) == 1 and reason in reply.problems[0]


@pytest.mark.parametrize("text", ['{"city": "Oslo"}', "[1, 2]", "```python\nprint({})\n```", "{{name}}", ", and so on"])
def test_other_text_gives_no_problem(text: str) -> None:
    assert parse(text, NAMES) == Reply(text, (), ())


def test_a_call_after_a_broken_one_is_found() -> None:
    reply = parse('{"name": "f", "parameters": {"a": }}\n' + TWO, NAMES)
    assert reply.calls == CALLS[1:] and len(reply.problems) == 1
    assert parse("{\n" + TWO, NAMES) == Reply("{", CALLS[1:], ())


def test_a_flushed_stream_starts_afresh() -> None:
    stream = CallStream(NAMES)
    stream.push('{"name": "f", "par')
    stream.flush()
    assert stream.push(TWO) == [Begin(0, "get_weather"), Arguments(0, "{}"), End(0, CALLS[1])]
