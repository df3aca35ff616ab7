"""What the judges share: how the last word of an answer is found, and when two texts say the same."""

from __future__ import annotations

import re
import unicodedata

from gemwright.tasks.item import RIGHT, Verdict, wrong

_NUMBER = re.compile(r"-?\d+")


def last_line(answer: str) -> str:
    """The last line that is not blank, without surrounding white space; empty for an empty answer."""
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def final(answer: str) -> str:
    """What an answer comes to: the last line after its last "=" sign, or all of it where it has none."""
    return last_line(answer).rpartition("=")[2].strip()


def final_number(answer: str) -> int | None:
    """The number an answer comes to. None where the last line holds no number, or several and no "=" before one."""
    numbers = _NUMBER.findall(final(answer))
    return int(numbers[0]) if len(numbers) == 1 else None


def judge_number(answer: str, expected: int) -> Verdict:
    """Does the answer come to that number?"""
    found = final_number(answer)
    if found is None:
        return wrong(f"the last line does not come to one number: {last_line(answer)[:60]!r}")
    return RIGHT if found == expected else wrong(f"{found} instead of {expected}")


def same(answer: str, expected: str) -> bool:
    """Equal but for the form of Unicode, white space around lines and blank lines."""
    return _lines(answer) == _lines(expected)


def judge_text(answer: str, expected: str) -> Verdict:
    """Is the answer that text, in that case and order? White space around lines does not count."""
    return RIGHT if same(answer, expected) else wrong(f"{answer.strip()[:80]!r} instead of {expected[:80]!r}")


def judge_final(answer: str, expected: str) -> Verdict:
    """Does the answer come to that text, after whatever steps?"""
    return judge_text(final(answer), expected)


def judge_sentence(answer: str, expected: str) -> Verdict:
    """Is the answer that sentence, with or without its full stop?"""
    return judge_text(answer.strip().removesuffix("."), expected.removesuffix("."))


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation. Apostrophes and hyphens within a word belong to it."""
    return re.findall(r"\w+(?:['’-]\w+)*", text.lower())


def _lines(text: str) -> list[str]:
    composed = unicodedata.normalize("NFC", text)
    return [line.strip() for line in composed.splitlines() if line.strip()]
