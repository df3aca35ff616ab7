"""Instructions that several answers would follow: choose words, make up a sentence, fill in JSON. Judged by what the
answer must hold. A part of the skill `instructions`."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from gemwright.tasks import words
from gemwright.tasks.item import RIGHT, Draw, Item, Verdict, user, wrong
from gemwright.tasks.judging import words_of

SKILL = "instructions"
_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight"}

_CHOOSE = (
    "Choose exactly {n} of these words: {text}",
    "Pick {n} words from this list, no more and no less: {text}",
    "Name {n} of the following: {text}",
    "{text}\nGive me exactly {n} of these, with commas.",
    "From this list take {n} words: {text}",
    "Which {n} words would you take? Name only them: {text}",
)
_BEGINS = ("Today", "Sometimes", "Perhaps", "Now", "Surely", "Often", "Outside", "Usually", "Luckily", "Here", "Maybe")
_ENDS = ("today", "again", "now", "here", "too", "indeed", "sometimes", "tonight", "outside", "often", "already")
_BEGIN = (
    "Write a sentence with {noun} and {adjective} that begins with the word {begin}.",
    "Begin with the word {begin}: a sentence about a {noun} that is {adjective}.",
    "Make a sentence of the words {noun} and {adjective}. Its first word must be {begin}.",
    "Use {noun} and {adjective} in a sentence. Start with {begin}.",
    "I need a sentence starting with {begin}. It must contain {noun} and {adjective}.",
    "Your answer must begin with {begin} and use the words {noun} and {adjective}.",
)
_END = (
    "Write a sentence with {noun} and {adjective} that ends with the word {end}.",
    "End with the word {end}: a sentence about a {noun} that is {adjective}.",
    "Make a sentence of the words {noun} and {adjective}. Its last word must be {end}.",
    "Use {noun} and {adjective} in a sentence. Finish with {end}.",
    "I need a sentence ending with {end}. It must contain {noun} and {adjective}.",
    "Your answer must end with {end} and use the words {noun} and {adjective}.",
)
_BOTH = (
    "Write a sentence with {noun} and {adjective} that begins with {begin} and ends with {end}.",
    "Use {noun} and {adjective}. The first word must be {begin} and the last word {end}.",
    "Make a sentence of {noun} and {adjective}. Start with {begin}, finish with {end}.",
    "Begin with {begin}, end with {end}, and say that the {noun} is {adjective}.",
    "I need a sentence with {noun} and {adjective}. It must begin with {begin} and end with {end}.",
    "Say that the {noun} is {adjective}: first word {begin}, last word {end}.",
)
_COUNTED = (
    "Write a sentence of exactly {n} words with {noun} and {adjective}.",
    "Say in exactly {n} words that the {noun} is {adjective}.",
    "Use {noun} and {adjective} in a sentence of {n} words.",
    "Make a sentence with {noun} and {adjective}. It must have {n} words.",
    "In {n} words, no more and no less: a sentence about a {noun} that is {adjective}.",
    "I want {n} words about a {noun} that is {adjective}.",
)
_OF_LENGTH = {
    4: "The {noun} is {adjective}.",
    5: "The {adjective} {noun} is here.",
    6: "The {adjective} {noun} is here today.",
    7: "I see that the {noun} is {adjective}.",
    8: "I can see that the {noun} is {adjective}.",
}
_PERSONS = (
    "{name} is {age} years old and lives in {city}. {name} likes {food}.",
    "{name} lives in {city}, is {age} years old and likes {food}.",
    "My friend {name} from {city} is {age} and likes to eat {food}.",
    "{name} is {age}. The home of {name} is {city}, the best food is {food}.",
    "In {city} lives {name}, aged {age}, who likes {food}.",
    "This is {name}, {age} years old. {name} eats {food} and comes from {city}.",
)
_AS_JSON = (
    "Write this as JSON with the keys {keys}: {text}",
    "{text}\nAnswer as JSON with the keys {keys}.",
    "Turn the text into a JSON object with {keys}. {text}",
    "Give me {keys} as JSON: {text}",
    "Read the text and return JSON. Keys: {keys}. Text: {text}",
    "{text}\nPut {keys} into a JSON object.",
)


def number_word(random: random.Random, n: int) -> str:
    """A number from 2 to 8, as a word or in digits."""
    return _NUMBERS[n] if random.random() < 0.5 else str(n)


def _item(task: str, text: str, ideal: str, key: str, **check: Any) -> Item:
    return Item(skill=SKILL, task=task, messages=user(text), ideal=ideal, key=key, check=check)


def choose(random: random.Random) -> Item:
    """So many words of a list, whichever."""
    line = words.distinct(random)
    n = random.randrange(2, len(line))
    text = random.choice(_CHOOSE).format(n=number_word(random, n), text=", ".join(line))
    return _item("choose", text, ", ".join(line[:n]), words.key_of(line), choose=n, of=line)


def framed(random: random.Random) -> Item:
    """A sentence of two given words with a given first word, last word, or both."""
    noun, adjective = random.choice(words.NOUNS), random.choice(words.ADJECTIVES)
    begin, end = random.choice(_BEGINS), random.choice(_ENDS)
    while begin.lower() == end:
        end = random.choice(_ENDS)
    wanted = random.choice(("begin", "end", "both"))
    frames = {"begin": _BEGIN, "end": _END, "both": _BOTH}[wanted]
    text = random.choice(frames).format(noun=noun, adjective=adjective, begin=begin, end=end)
    first = f"{begin} the" if wanted != "end" else "The"
    last = f" {end}" if wanted != "begin" else ""
    asked = {"begin": begin if wanted != "end" else "", "end": end if wanted != "begin" else ""}
    key = f"framed {asked['begin'].lower()} {noun} {adjective} {asked['end']}"
    return _item("framed", text, f"{first} {noun} is {adjective}{last}.", key, sentence=[noun, adjective], **asked)


def counted(random: random.Random) -> Item:
    """A sentence of two given words that has four to eight words."""
    noun, adjective, n = random.choice(words.NOUNS), random.choice(words.ADJECTIVES), random.choice(list(_OF_LENGTH))
    text = random.choice(_COUNTED).format(noun=noun, adjective=adjective, n=number_word(random, n))
    ideal = _OF_LENGTH[n].format(noun=noun, adjective=adjective)
    return _item("counted", text, ideal, f"counted {n} {noun} {adjective}", sentence=[noun, adjective], words=n)


def as_json(random: random.Random) -> Item:
    """One to four facts about a person, under the keys asked for."""
    facts: dict[str, str | int] = {
        "name": random.choice(words.NAMES),
        "age": random.randrange(5, 100),
        "city": random.choice(words.CITIES),
        "food": random.choice(words.FOODS),
    }
    keys = random.sample(list(facts), random.choice((1, 2, 2, 3, 3, 4)))
    text = random.choice(_AS_JSON).format(keys=_listed(keys), text=random.choice(_PERSONS).format(**facts))
    wanted = {key: facts[key] for key in keys}
    key = f"person {' '.join(str(value) for value in facts.values())}"
    return _item("json", text, json.dumps(wanted), key, json=wanted)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


TASKS: dict[str, Draw] = {"choose": choose, "framed": framed, "counted": counted, "json": as_json}


def judge(check: Mapping[str, Any], answer: str) -> Verdict:
    """Does the answer hold what it must?"""
    if "json" in check:
        return _judge_json(check["json"], answer)
    if "choose" in check:
        return _judge_choice(check["choose"], check["of"], answer)
    return _judge_sentence(check, answer)


def _judge_json(wanted: Any, answer: str) -> Verdict:
    try:
        found = json.loads(answer, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        return wrong(f"not JSON: {error}")
    # As text, since in Python 1 equals True and 5 equals 5.0. The order of an object's keys does not count.
    alike = json.dumps(found, sort_keys=True) == json.dumps(wanted, sort_keys=True)
    return RIGHT if alike else wrong(f"{str(found)[:80]} instead of {wanted}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys come once: a second value would be a second answer."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


def _judge_choice(n: int, of: Sequence[str], answer: str) -> Verdict:
    chosen = words_of(answer)
    if foreign := [word for word in chosen if word not in of]:
        return wrong(f"{foreign[0]!r} is not on the list")
    if len(set(chosen)) != len(chosen) or len(chosen) != n:
        return wrong(f"{len(set(chosen))} different words of {len(chosen)} instead of {n}")
    return RIGHT


def _judge_sentence(check: Mapping[str, Any], answer: str) -> Verdict:
    found = words_of(answer)
    if missing := [word for word in check["sentence"] if word not in found]:
        return wrong(f"without the word {missing[0]!r}")
    if len(found) < 4:
        return wrong(f"no sentence: {answer.strip()[:60]!r}")
    if check.get("begin") and found[0] != check["begin"].lower():
        return wrong(f"begins with {found[0]!r} instead of {check['begin']!r}")
    if check.get("end") and found[-1] != check["end"]:
        return wrong(f"ends with {found[-1]!r} instead of {check['end']!r}")
    if check.get("words") and len(found) != check["words"]:
        return wrong(f"{len(found)} words instead of {check['words']}")
    if "\n" in answer.strip():
        return wrong("more than one line")
    return RIGHT
