"""Short dialogues that remember: what the user has told, and corrected, one to four turns before; and who is talking.

The user tells facts, chats in between, and asks for one of the facts, for two, for one that was corrected, or for one
that was never told. The model is Gemwright's pocket model: small, offline, and it says so when it is asked.
The key is all that the user says. Single questions about the model are few and known to every training, so they are
never tested alone (their key is `KNOWN`); in a dialogue they are.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gemwright.tasks import words
from gemwright.tasks.item import KNOWN, RIGHT, Draw, Item, Verdict, normalise, wrong
from gemwright.tasks.judging import words_of
from gemwright.text.turns import Message

SKILL = "dialogue"


@dataclass(frozen=True)
class _Kind:
    """A kind of fact: its values, the word that answers about it hold, how it is told, taken note of, corrected, asked
    for, answered, and not known."""

    word: str
    values: tuple[str, ...]
    told: tuple[str, ...]
    noted: str
    corrected: tuple[str, ...]
    asked: tuple[str, ...]
    answer: str
    unknown: str


def _favourite(thing: str, values: tuple[str, ...]) -> _Kind:
    return _Kind(
        word=thing,
        values=values,
        told=(
            f"My favourite {thing} is {{value}}.",
            f"The {thing} I like best is {{value}}.",
            f"{{Value}} is my favourite {thing}.",
            f"Remember that my favourite {thing} is {{value}}.",
            f"If you ask for my favourite {thing}: it is {{value}}.",
            f"I like {{value}} more than any other {thing}.",
        ),
        noted=f"I will remember that your favourite {thing} is {{value}}.",
        corrected=(
            f"No, wait: my favourite {thing} is {{value}}.",
            f"Sorry, I was wrong. My favourite {thing} is {{value}}.",
            f"I have changed my mind: {{value}} is my favourite {thing} now.",
            f"Correction: the {thing} I like best is {{value}}.",
        ),
        asked=(
            f"What is my favourite {thing}?",
            f"Which {thing} do I like best?",
            f"Do you remember my favourite {thing}?",
            f"Tell me my favourite {thing}.",
            f"And my favourite {thing} is?",
            f"Can you say which {thing} is my favourite?",
        ),
        answer=f"Your favourite {thing} is {{value}}.",
        unknown=f"You have not told me your favourite {thing}.",
    )


KINDS: dict[str, _Kind] = {
    "name": _Kind(
        word="name",
        values=words.NAMES,
        told=(
            "My name is {value}.",
            "I am {value}.",
            "Hello, I am {value}.",
            "You can call me {value}.",
            "Hi! {value} is my name.",
            "They call me {value}.",
        ),
        noted="Nice to meet you, {value}.",
        corrected=(
            "Sorry, my name is {value}.",
            "No, wait: I am {value}.",
            "That was wrong. My name is {value}.",
            "Correction: you can call me {value}.",
        ),
        asked=(
            "What is my name?",
            "Do you remember my name?",
            "Who am I?",
            "Tell me my name.",
            "And my name is?",
            "What do people call me?",
        ),
        answer="Your name is {value}.",
        unknown="You have not told me your name.",
    ),
    "city": _Kind(
        word="live",
        values=words.CITIES,
        told=(
            "I live in {value}.",
            "My home is {value}.",
            "I come from {value}.",
            "My city is {value}.",
            "I have a house in {value}.",
            "{value} is where I live.",
        ),
        noted="I will remember that you live in {value}.",
        corrected=(
            "No, wait: I live in {value}.",
            "Sorry, I was wrong. My home is {value}.",
            "I have moved: now I live in {value}.",
            "Correction: my city is {value}.",
        ),
        asked=(
            "Where do I live?",
            "In which city do I live?",
            "Do you remember where I live?",
            "What is my city?",
            "Tell me where my home is.",
            "And I live where?",
        ),
        answer="You live in {value}.",
        unknown="You have not told me where you live.",
    ),
    "age": _Kind(
        word="old",
        values=tuple(str(age) for age in range(12, 90)),
        told=(
            "I am {value} years old.",
            "My age is {value}.",
            "I have just turned {value}.",
            "This year I became {value}.",
            "I am {value}, by the way.",
            "I have lived for {value} years.",
        ),
        noted="I will remember that you are {value} years old.",
        corrected=(
            "No, wait: I am {value} years old.",
            "Sorry, I was wrong. I am {value}.",
            "It was my birthday: now I am {value}.",
            "Correction: my age is {value}.",
        ),
        asked=(
            "How old am I?",
            "What is my age?",
            "Do you remember how old I am?",
            "Tell me my age.",
            "And how many years old am I?",
            "Can you say how old I am?",
        ),
        answer="You are {value} years old.",
        unknown="You have not told me how old you are.",
    ),
    "colour": _favourite("colour", words.COLOURS),
    "food": _favourite("food", words.FOODS),
    "animal": _favourite("animal", tuple(f"the {animal}" for animal in words.ANIMALS)),
}

_TALK = (  # remarks that hold no fact, and what to say to them
    ("How are you?", "I am fine, thank you."),
    ("How is it going?", "I am fine, thank you."),
    ("Nice to talk to you.", "I like talking to you too."),
    ("You are nice.", "Thank you, you too."),
    ("Thank you.", "You are welcome."),
    ("Thanks!", "You are welcome."),
    ("Good morning.", "Good morning to you."),
    ("Good evening.", "Good evening to you."),
    ("I am a little tired.", "Then take a rest."),
    ("I am bored.", "Then let us talk."),
    ("Shall we go on?", "Yes, go on."),
    ("One moment, please.", "I will wait."),
)
# Questions about the model, its answer, and the words of it without which no answer would do.
_SELF: tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...] = (
    (
        ("Who are you?", "What are you?", "What is your name?", "Tell me who you are.", "Do you have a name?"),
        "I am the pocket model of Gemwright.",
        ("pocket", "gemwright"),
    ),
    (
        ("Who made you?", "Where do you come from?", "Who built you?", "Who trained you?"),
        "I was made with Gemwright.",
        ("made", "gemwright"),
    ),
    (
        ("How big are you?", "Are you a large model?", "Are you small?", "What is your size?"),
        "I am a very small model.",
        ("small model",),
    ),
    (
        ("Are you online?", "Can you use the internet?", "Can you look that up on the web?", "Do you need a network?"),
        "I work offline and cannot use the internet.",
        ("offline",),
    ),
    (
        ("What can you do?", "How can you help me?", "What are you good at?", "What do you know?"),
        "I can do sums, follow instructions, translate short sentences, find facts in a text and remember our talk.",
        ("sums", "instructions", "translate", "find", "remember"),
    ),
    (
        ("Are you a human?", "Are you a person?", "Am I talking to a machine?", "Are you alive?"),
        "I am a program, not a person.",
        ("program", "not"),
    ),
)


class _Talk:
    """A dialogue in the making."""

    def __init__(self, random: random.Random) -> None:
        self.random = random
        self.messages: list[Message] = []
        self.said: dict[str, list[str]] = {}  # the values of each kind in the order in which they were told

    def turn(self, said: str, answer: str) -> None:
        """The user says something and the model answers."""
        self.messages += [Message("user", said), Message("model", answer)]

    def tell(self, kind: str) -> None:
        """The user tells a fact, or, where the kind was told before, corrects it."""
        fact, before = KINDS[kind], self.said.setdefault(kind, [])
        value = self.random.choice([value for value in fact.values if value not in before])
        told = self.random.choice(fact.corrected if before else fact.told)
        before.append(value)
        self.turn(_upper_first(told.format(value=value, Value=_upper_first(value))), fact.noted.format(value=value))

    def chat(self) -> None:
        """A remark without a fact, or a question about the model."""
        if self.random.random() < 0.7:
            self.turn(*self.random.choice(_TALK))
        else:
            questions, answer, _ = self.random.choice(_SELF)
            self.turn(self.random.choice(questions), answer)

    def item(self, task: str, asked: str, ideal: str, **check: Any) -> Item:
        """The dialogue with its last question."""
        messages = (*self.messages, Message("user", asked))
        key = "dialogue " + " / ".join(normalise(message.text) for message in messages if message.role == "user")
        return Item(skill=SKILL, task=task, messages=messages, ideal=ideal, key=key, check=check)


def _upper_first(text: str) -> str:
    return text[0].upper() + text[1:]


def _told(random: random.Random, facts: int, chats: int) -> tuple[_Talk, list[str]]:
    """A dialogue in which so many different facts were told, and the kinds of them; `chats` is the most small talk."""
    talk, kinds = _Talk(random), random.sample(list(KINDS), facts)
    steps = [*kinds, *[""] * random.randrange(chats + 1)]
    random.shuffle(steps)
    for kind in steps:
        if kind:
            talk.tell(kind)
        else:
            talk.chat()
    return talk, kinds


def _ask(talk: _Talk, task: str, kind: str) -> Item:
    value = talk.said[kind][-1]
    ideal = KINDS[kind].answer.format(value=value)
    others = [said for values in talk.said.values() for said in values if said != value]
    return talk.item(task, talk.random.choice(KINDS[kind].asked), ideal, holds=[value], lacks=others)


def remember(random: random.Random) -> Item:
    """One of one to three facts, with small talk before or after."""
    talk, kinds = _told(random, random.randrange(1, 4), 1)
    return _ask(talk, "remember", random.choice(kinds))


def correct(random: random.Random) -> Item:
    """A fact that was corrected, or one beside it that was not."""
    talk, kinds = _told(random, random.randrange(1, 3), 1)
    changed = random.choice(kinds)
    talk.tell(changed)
    if len(talk.messages) < 8 and random.random() < 0.5:
        talk.chat()
    return _ask(talk, "correct", changed if random.random() < 0.7 else random.choice(kinds))


def both(random: random.Random) -> Item:
    """Two of two or three facts at once."""
    talk, kinds = _told(random, random.randrange(2, 4), 1)
    one, other = random.sample(kinds, 2)
    first, second = random.choice(KINDS[one].asked), random.choice(KINDS[other].asked)
    values = [talk.said[kind][-1] for kind in (one, other)]
    ideal = f"{KINDS[one].answer.format(value=values[0])} {KINDS[other].answer.format(value=values[1])}"
    others = [talk.said[kind][-1] for kind in kinds if kind not in (one, other)]
    return talk.item("both", f"{first} {second}", ideal, holds=values, lacks=others)


def never_told(random: random.Random) -> Item:
    """A fact that the user has not told: the model says so."""
    talk, kinds = _told(random, random.randrange(1, 4), 1)
    kind = random.choice([kind for kind in KINDS if kind not in kinds])
    # Saying that something else was not told is no answer.
    others = [said for values in talk.said.values() for said in values]
    others += [fact.word for name, fact in KINDS.items() if name != kind]
    ideal = KINDS[kind].unknown
    return talk.item("never_told", random.choice(KINDS[kind].asked), ideal, holds=["not", "told"], lacks=others)


def about(random: random.Random) -> Item:
    """A question about the model, alone or after facts."""
    alone = random.random() < 0.15
    talk = _Talk(random) if alone else _told(random, random.randrange(1, 3), 1)[0]
    questions, ideal, holds = random.choice(_SELF)
    item = talk.item("about", random.choice(questions), ideal, holds=list(holds), lacks=[])
    return replace(item, key=KNOWN) if alone else item


TASKS: dict[str, Draw] = {
    "remember": remember,
    "correct": correct,
    "both": both,
    "never_told": never_told,
    "about": about,
}


def judge(item: Item, answer: str) -> Verdict:
    """The answer must hold the words of what was asked for and none of the other facts told, nor deny what it knows."""
    found = words_of(answer)
    for value in item.check["holds"]:
        if not _within(value, found):
            return wrong(f"{answer.strip()[:60]!r} lacks {value!r}")
    for value in item.check["lacks"]:
        if _within(value, found):
            return wrong(f"{answer.strip()[:60]!r} holds {value!r}")
    if item.task in ("remember", "correct", "both") and "not" in found:
        return wrong(f"{answer.strip()[:60]!r} denies what was told")
    return RIGHT


def _within(value: str, found: Sequence[str]) -> bool:
    """Do the words of a value stand side by side in an answer?"""
    wanted = words_of(value)
    return any(list(found[start : start + len(wanted)]) == wanted for start in range(len(found)))
