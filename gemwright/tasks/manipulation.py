"""Text manipulation: letters of words and words of texts, taken apart and put together.

Where letters count, the answer spells the word first and comes to its result on the last line, after "= ":

    b-a-n-o-l-a          b-a1-n-o-l-a2
    a-l-o-n-a-b          = 2
    = alonab

Letters are asked of invented words, and of two or three real words at once: nothing of that can be known by heart.
The result alone is judged. The key is the words asked about, whatever is done with them.
"""

from __future__ import annotations

import random
from typing import Any

from gemwright.tasks import words
from gemwright.tasks.item import Draw, Item, Verdict, user
from gemwright.tasks.judging import judge_final, judge_number, judge_text

SKILL = "manipulation"
_VOWELS = "aeiou"
_PLACES = ("first", "second", "third", "fourth", "fifth", "sixth")

_SPELL = (
    "Spell {text}.",
    "Spell this with dashes: {text}",
    "Write {text} letter by letter, with dashes between the letters.",
    "What are the letters of {text}?",
    "Take {text} apart into letters.",
    "Put a dash between all letters: {text}",
)
_BACKWARDS = (
    "Reverse the letters of {text}.",
    "Write {text} backwards.",
    "What is {text} spelled backwards?",
    "Turn {text} around, letter by letter.",
    "Spell {text} from the last letter to the first and write the word that comes out.",
    "Read {text} from right to left.",
)
_COUNT = (
    "How many times does the letter {letter} occur in {text}?",
    "Count the letter {letter} in {text}.",
    "How many {letter} are in the word {text}?",
    "How often does {text} contain the letter {letter}?",
    "In {text}, how many letters are {letter}?",
    "Number of {letter} in {text}?",
)
_LENGTH = (
    "How many letters does {text} have?",
    "Count the letters of {text}.",
    "How long is the word {text}?",
    "What is the number of letters in {text}?",
    "{text}: how many letters?",
    "{text} is made of how many letters?",
)
_NO_VOWELS = (
    "Remove the vowels from {text}.",
    "Write {text} without vowels.",
    "Drop a, e, i, o and u from {text}.",
    "What is left of {text} without its vowels?",
    "Keep only the consonants of {text}.",
    "Take all vowels out of {text}.",
)
_COUNT_WORDS = (
    "How many words are in this text? {text}",
    "Count the words: {text}",
    "{text}\nHow many words is that?",
    "Tell me the number of words in: {text}",
    "How long is this in words? {text}",
    "Please count these words: {text}",
)
_JOIN = (
    "Join these words with {mark}: {text}",
    "Put {mark} between the words: {text}",
    "{text}\nWrite it with {mark} instead of spaces.",
    "Connect the words by {mark}: {text}",
    "Replace every space by {mark}: {text}",
    "Glue the words together with {mark}: {text}",
)
_MARKS = {"a dash": "-", "a slash": "/", "a plus sign": "+", "an underscore": "_", "a star": "*", "nothing": ""}
_REPLACE = (
    "Replace {old} by {new}: {text}",
    "Write {new} instead of {old}: {text}",
    "{text}\nChange {old} into {new}.",
    "In this text, put {new} in the place of {old}: {text}",
    "Exchange {old} for {new}: {text}",
    "Swap the word {old} for {new}: {text}",
)
_WORD = (
    "What is the {place} word? {text}",
    "Give me the {place} word of: {text}",
    "{text}\nName the {place} word.",
    "Which word comes {place}? {text}",
    "Find the {place} word: {text}",
    "Copy only the {place} word of this text: {text}",
)
_INITIALS = (
    "Write the first letters of these words as one word in capitals: {text}",
    "What are the initials? {text}",
    "Make an acronym: {text}",
    "{text}\nTake the first letter of each word, in capitals.",
    "Give the initials in upper case: {text}",
    "Shorten to capital initials: {text}",
)
_LEAVE_OUT = (
    "Leave out the word {word}: {text}",
    "Write this without {word}: {text}",
    "{text}\nRemove {word}.",
    "Delete the word {word}: {text}",
    "Copy the text, but skip {word}: {text}",
    "Drop {word} from this text: {text}",
)
_EXCHANGE = (
    "Exchange the first and the last word: {text}",
    "Swap the first word with the last: {text}",
    "{text}\nLet the first and the last word change places.",
    "Put the last word first and the first word last: {text}",
    "Write this with its first and last word swapped: {text}",
    "Switch the outer two words: {text}",
)


def _item(task: str, text: str, ideal: str, line: list[str], **check: Any) -> Item:
    key = words.key_of(line)
    return Item(skill=SKILL, task=task, messages=user(text), ideal=ideal, key=key, check=check)


def _strange(random: random.Random) -> str:
    return words.invented(random, random.randrange(2, 5))


def _spelled(word: str) -> str:
    return "-".join(word)


def _a_few(random: random.Random) -> list[str]:
    """An invented word, or two or three real ones."""
    if random.random() < 0.6:
        return [_strange(random)]
    return random.sample(words.THINGS, random.choice((2, 2, 3)))


def _named(line: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(line[:-1]), line[-1])))


def spell(random: random.Random) -> Item:
    """Letters with dashes between them."""
    line = _a_few(random)
    ideal = ", ".join(map(_spelled, line))
    return _item("spell", random.choice(_SPELL).format(text=_named(line)), ideal, line, exact=ideal)


def backwards(random: random.Random) -> Item:
    """The letters of one or more words in reverse, each word in its place."""
    line = _a_few(random)
    result = ", ".join(word[::-1] for word in line)
    steps = [", ".join(map(_spelled, line)), ", ".join(_spelled(word[::-1]) for word in line), f"= {result}"]
    text = random.choice(_BACKWARDS).format(text=_named(line))
    return _item("backwards", text, "\n".join(steps), line, result=result)


def count_letter(random: random.Random) -> Item:
    """How often a letter occurs in an invented word; every occurrence is numbered on the way."""
    word = _strange(random)
    letter = random.choice(word) if random.random() < 0.85 else random.choice("abdefgiklmnoprstuvz")
    count, marked = 0, []
    for each in word:
        count += each == letter
        marked.append(f"{each}{count}" if each == letter else each)
    text = random.choice(_COUNT).format(letter=letter, text=word)
    return _item("count_letter", text, f"{'-'.join(marked)}\n= {count}", [word], number=count)


def length(random: random.Random) -> Item:
    """How many letters an invented word has; each is numbered on the way."""
    word = _strange(random)
    steps = "-".join(f"{each}{place}" for place, each in enumerate(word, start=1))
    text = random.choice(_LENGTH).format(text=word)
    return _item("length", text, f"{steps}\n= {len(word)}", [word], number=len(word))


def no_vowels(random: random.Random) -> Item:
    """A word without a, e, i, o and u."""
    word = _strange(random)
    result = "".join(each for each in word if each not in _VOWELS)
    text = random.choice(_NO_VOWELS).format(text=word)
    return _item("no_vowels", text, f"{_spelled(word)}\n= {result}", [word], result=result)


def count_words(random: random.Random) -> Item:
    """How many words a text has; each is numbered on the way."""
    line = _line(random)
    steps = " ".join(f"{word} {place}" for place, word in enumerate(line, start=1))
    text = random.choice(_COUNT_WORDS).format(text=" ".join(line))
    return _item("count_words", text, f"{steps}\n= {len(line)}", line, number=len(line))


def _line(random: random.Random) -> list[str]:
    return words.sentence(random).split() if random.random() < 0.5 else words.distinct(random)


def join(random: random.Random) -> Item:
    """Words with a mark, or with nothing, between them."""
    line, mark = words.distinct(random), random.choice(list(_MARKS))
    ideal = _MARKS[mark].join(line)
    return _item("join", random.choice(_JOIN).format(mark=mark, text=" ".join(line)), ideal, line, exact=ideal)


def replace(random: random.Random) -> Item:
    """One word of a text replaced by another, wherever it stands."""
    line = _line(random)
    old = random.choice([word for word in line if word in words.THINGS])
    new = random.choice([word for word in words.THINGS if word not in line])
    ideal = " ".join(new if word == old else word for word in line)
    text = random.choice(_REPLACE).format(old=old, new=new, text=" ".join(line))
    return _item("replace", text, ideal, line, exact=ideal)


def nth_word(random: random.Random) -> Item:
    """The first to sixth, or the last word."""
    line = _line(random)
    place = random.randrange(-1, min(len(line), len(_PLACES)))
    text = random.choice(_WORD).format(place=_PLACES[place] if place >= 0 else "last", text=" ".join(line))
    return _item("nth_word", text, line[place], line, exact=line[place])


def initials(random: random.Random) -> Item:
    """First letters as one word in capitals."""
    line = words.distinct(random)
    ideal = "".join(word[0].upper() for word in line)
    return _item("initials", random.choice(_INITIALS).format(text=" ".join(line)), ideal, line, exact=ideal)


def leave_out(random: random.Random) -> Item:
    """A text without one of its words."""
    line = words.distinct(random)
    word = random.choice(line)
    ideal = " ".join(each for each in line if each != word)
    text = random.choice(_LEAVE_OUT).format(word=word, text=" ".join(line))
    return _item("leave_out", text, ideal, line, exact=ideal)


def exchange(random: random.Random) -> Item:
    """A text with its first and last word in each other's place."""
    line = words.distinct(random)
    ideal = " ".join([line[-1], *line[1:-1], line[0]])
    return _item("exchange", random.choice(_EXCHANGE).format(text=" ".join(line)), ideal, line, exact=ideal)


TASKS: dict[str, Draw] = {
    "spell": spell,
    "backwards": backwards,
    "count_letter": count_letter,
    "length": length,
    "no_vowels": no_vowels,
    "count_words": count_words,
    "join": join,
    "replace": replace,
    "nth_word": nth_word,
    "initials": initials,
    "leave_out": leave_out,
    "exchange": exchange,
}


def judge(item: Item, answer: str) -> Verdict:
    """The number or the text that the last line comes to; where there are no steps, the whole answer."""
    if "number" in item.check:
        return judge_number(answer, item.check["number"])
    if "result" in item.check:
        return judge_final(answer, item.check["result"])
    return judge_text(answer, item.check["exact"])
