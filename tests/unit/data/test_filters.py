"""The filters as a stage: what stays of a stream, and what is told of the rest."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gemwright.data.decontaminate import Evaluations
from gemwright.data.documents import Conversation, Document
from gemwright.data.filters import CONTAMINATED, EXACT, NEAR, PERSONAL, Dropped, Entry, Filters, Policy
from gemwright.text.turns import Message

BASE = " ".join(f"word{number}" for number in range(60))
ALMOST = BASE.replace("word30", "another")


def _documents(*texts: str) -> list[Document]:
    return [Document(name=f"d#{number}", key=text, text=text) for number, text in enumerate(texts, start=1)]


def _chat(name: str, *said: str) -> Conversation:
    roles = ("user", "assistant") * len(said)
    messages = tuple(Message(role, text) for role, text in zip(roles, said, strict=False))
    return Conversation(name=name, key=said[0], messages=messages)


def _run(filters: Filters, entries: Sequence[Entry]) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """Names of what stays; name → reason and likeness of what goes."""
    gone: list[Dropped] = []
    stays = [entry.name for entry in filters.kept(entries, gone.append)]
    return stays, {one.name: (one.reason, one.like) for one in gone}


def test_the_first_of_similar_texts_stays_and_the_others_name_it() -> None:
    filters = Filters(policy="keep", near=0.8)
    stays, gone = _run(filters, _documents(BASE, "other", BASE.upper(), ALMOST))
    assert stays == ["d#1", "d#2"]
    assert gone == {"d#3": (EXACT, "d#1"), "d#4": (NEAR, "d#1")}


def test_a_dropped_text_makes_no_duplicates() -> None:
    evaluations = Evaluations(_documents("word29 word30 word31 word32 word33"))
    filters = Filters(policy="keep", near=0.8, evaluations=evaluations)
    stays, gone = _run(filters, _documents(BASE, ALMOST, BASE))
    assert stays == ["d#2"]
    assert gone == {"d#1": (CONTAMINATED, "d#1"), "d#3": (CONTAMINATED, "d#1")}


def test_without_near_similar_texts_stay() -> None:
    stays, gone = _run(Filters(policy="keep", near=0), _documents(BASE, ALMOST, BASE))
    assert stays == ["d#1", "d#2"] and gone == {"d#3": (EXACT, "d#1")}


@pytest.mark.parametrize(
    ("policy", "texts"),
    [
        ("keep", ["ask jane@web.de", "ask joe@web.de"]),
        ("mask", ["ask <email>"]),  # masked, the two are the same
        ("drop", []),
    ],
)
def test_personal_data_is_kept_masked_or_dropped_and_counted(policy: Policy, texts: list[str]) -> None:
    filters = Filters(policy=policy, near=0.8)
    entries = _documents("ask jane@web.de", "ask joe@web.de", "ask nobody at all")
    stays = [entry.text for entry in filters.kept(entries) if isinstance(entry, Document)]
    assert stays == [*texts, "ask nobody at all"]
    assert filters.tally.texts == 2 and filters.tally.counts == {"email": 2}
    assert filters.report.dropped == {"keep": {}, "mask": {EXACT: 1}, "drop": {PERSONAL: 2}}[policy]


def test_a_dropped_text_with_personal_data_tells_its_kinds() -> None:
    _, gone = _run(Filters(policy="drop", near=0), _documents("a@web.de, 123-45-6789, b@web.de"))
    assert gone == {"d#1": (PERSONAL, "email, ssn")}


def test_a_conversation_is_masked_message_by_message() -> None:
    (found,) = Filters(policy="mask", near=0.8).kept([_chat("c", "I am a@web.de", "hello a@web.de")])
    assert isinstance(found, Conversation)
    assert found.messages == (Message("user", "I am <email>"), Message("assistant", "hello <email>"))


def test_a_conversation_is_judged_by_all_its_messages() -> None:
    half = BASE.split()
    chats = [_chat("c#1", "hi", BASE), _chat("c#2", "hi", "something else"), _chat("c#3", "hi", ALMOST)]
    evaluations = Evaluations(_documents(" ".join(half[:8])))
    assert _run(Filters(policy="keep", near=0.8), chats)[1] == {"c#3": (NEAR, "c#1")}
    split = _chat("c#4", " ".join(half[:4]), " ".join(half[4:8]))
    assert _run(Filters(policy="keep", near=0.8, evaluations=evaluations), [split])[1] == {"c#4": (CONTAMINATED, "d#1")}


def test_an_evaluation_text_with_personal_data_is_met_before_masking() -> None:
    entries = _documents("please write to jane at jane@web.de soon")
    filters = Filters(policy="mask", near=0.8, evaluations=Evaluations(entries))
    assert _run(filters, entries)[1] == {"d#1": (CONTAMINATED, "d#1")}


def test_the_report_counts_what_is_kept_as_it_is_kept() -> None:
    filters = Filters(policy="mask", near=0.8)
    kept = list(filters.kept([*_documents("ä@web.de", BASE, BASE), _chat("c", "hello", "you")]))
    assert len(kept) == 3
    assert (filters.report.documents, filters.report.conversations) == (2, 1)
    assert filters.report.bytes == len("<email>") + len(BASE) + len("helloyou")
    assert filters.report.dropped == {EXACT: 1} and filters.report.examples == {EXACT: ["d#3"]}


def test_the_texts_come_one_at_a_time() -> None:
    given = iter(_documents("one", "two", "three"))
    stays = Filters(policy="keep", near=0.8).kept(given)
    assert next(stays).name == "d#1" and next(given).name == "d#2"
