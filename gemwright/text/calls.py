"""A model's reply into text and tool calls, as it arrives.

Gemma has no pieces of its own for tool calls: the prompt states a form (see `tools`), and whoever reads the reply looks
for it. A call is a JSON object that stands at the start of a line,

    {"name": "get_weather", "parameters": {"city": "Oslo"}}

with the name of a tool that was offered, then its parameters (or "arguments"), and nothing else. Models also put calls
into a list or a code fence; both are read as if they were not there. Everything else is text. What comes out does not
depend on how the reply is cut into pieces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

_LONGEST = 512  # characters of a call before its parameters; more white space than that is no call
_BLANKS = 64  # white space that is held back because a call may follow


@dataclass(frozen=True)
class Call:
    """A tool to run: its name, and its arguments as the JSON object that the model wrote."""

    name: str
    arguments: str

    @property
    def values(self) -> dict[str, Any]:
        """The arguments by name."""
        return json.loads(self.arguments)


@dataclass(frozen=True)
class Text:
    """Words for the reader. `reason`: not empty where they begin like a call, and says why they are none."""

    text: str
    reason: str = ""


@dataclass(frozen=True)
class Begin:
    """Call `index` (from 0) of the reply begins."""

    index: int
    name: str


@dataclass(frozen=True)
class Arguments:
    """More of the arguments of call `index`, as JSON text."""

    index: int
    text: str


@dataclass(frozen=True)
class End:
    """Call `index` is complete."""

    index: int
    call: Call


@dataclass(frozen=True)
class Broken:
    """Call `index` began and is none after all: cut short, or no JSON. `text`: all of it as the model wrote it, white
    space and marks before it included."""

    index: int
    text: str
    reason: str


Part = Text | Begin | Arguments | End | Broken


@dataclass(frozen=True)
class Reply:
    """A whole reply. `text` holds broken calls too, as they were written; `problems` says what is wrong with what looks
    like a call and is none."""

    text: str
    calls: tuple[Call, ...]
    problems: tuple[str, ...]


def parse(text: str, names: Collection[str]) -> Reply:
    """Reads a whole reply; `names` of the tools that were offered."""
    stream = CallStream(names)
    parts = [*stream.push(text), *stream.flush()]
    words = [part.text for part in parts if isinstance(part, Text | Broken)]
    calls = [part.call for part in parts if isinstance(part, End)]
    problems = [part.reason for part in parts if isinstance(part, Text | Broken) and part.reason]
    return Reply("".join(words), tuple(calls), tuple(problems))


class CallStream:
    """Reads a reply piece by piece.

    The parts that `push` and `flush` return, neighbours of one kind joined, are the same however the reply is cut. The
    texts are the reply without its calls and without the white space, list marks and fences around them; without a call
    they are the whole reply. Text is held back only where it may still become a call.
    """

    def __init__(self, names: Collection[str]) -> None:
        """`names`: of the tools that were offered."""
        self._names = frozenset(names)
        self._read = self._lead
        self._held = ""  # not given out yet: what may become a call, or white space around one
        self._index = 0  # calls begun
        self._fresh = False  # nothing but white space came since the last call
        self._fenced = self._listed = False  # the call stands in a fence, in a list
        self._call: list[str] = []  # all of the call that is being read, and what was held back before it
        self._name = ""
        self._arguments = _Object()
        self._run: list[Part] = []  # neighbours that will be one part
        self._out: list[Part] = []

    def push(self, text: str) -> list[Part]:
        """What is certain now that `text` has come."""
        at = 0
        while at < len(text):
            if self._read == self._line:  # most of a reply: no need to look at every character
                stop = text.find("\n", at)
                stop = len(text) if stop < 0 else stop
                self._say(text[at:stop])
                at = stop
                if at == len(text):
                    break
            self._read(text[at])
            at += 1
        return self._take()

    def flush(self) -> list[Part]:
        """The rest at the end of the reply. The stream starts afresh after."""
        if self._call:
            self._break("the call is cut short")
        elif not (self._fresh and not self._held.strip()):
            self._say(self._held, "the call is cut short" if _LIKE.match(self._held) else "")
        parts = self._take()
        self.__init__(self._names)
        return parts

    # ------------------------------------------------------------------------------------------------------------ text

    def _line(self, character: str) -> None:
        """In the middle of a line of text."""
        if character == "\n":
            self._read = self._lead
            self._lead(character)
        else:
            self._say(character)

    def _lead(self, character: str) -> None:
        """Where a call may begin: at the start of a line, and after a call."""
        held = self._held = self._held + character
        if self._closed(held):
            return
        pattern = _NEXT if self._listed else _FIRST
        if not held.strip():
            if len(held) >= _BLANKS:
                self._say(held)
                self._held = ""
        elif len(held) > _LONGEST or not pattern.prefix.fullmatch(held):
            self._reject(held, "the call is not of the agreed form" if _LIKE.match(held) else "")
        elif found := pattern.whole.fullmatch(held):
            name, key = found["name"], found["key"]
            if name not in self._names:
                self._reject(held, f"no tool is called {name!r}")
            elif key not in ("parameters", "arguments"):
                self._reject(held, f"the call has {key!r} where its parameters should be")
            else:
                self._begin(name, held)

    def _closed(self, held: str) -> bool:
        """Drops the end of the list or of the fence that the last call stood in."""
        mark = held.strip()
        if self._listed and mark == "]":
            self._listed = False
        elif self._fenced and not self._listed and mark.startswith("`"):
            if not "```".startswith(mark):
                return False
            if mark != "```":
                return True
            self._fenced = False
        else:
            return False
        self._held = ""
        return True

    def _reject(self, held: str, reason: str) -> None:
        """What was held back is no call; another may begin at the next line break in it."""
        self._held = ""
        self._listed = self._fenced = False
        line = held.find("\n", 1)
        self._say(held if line < 0 else held[:line], reason)
        self._read = self._line
        for character in held[line:] if line > 0 else "":
            self._read(character)

    def _say(self, text: str, reason: str = "") -> None:
        if text:
            self._fresh = False
            self._add(Text(text, reason))

    # ------------------------------------------------------------------------------------------------------------ calls

    def _begin(self, name: str, held: str) -> None:
        self._listed = self._listed or bool(_LIST.match(held))
        self._fenced = self._fenced or "`" in held
        self._call, self._held, self._name = [held], "", name
        self._add(Begin(self._index, name))
        self._arguments = _Object()
        self._read = self._argument
        self._argument_character("{")

    def _argument(self, character: str) -> None:
        self._call.append(character)
        self._argument_character(character)

    def _argument_character(self, character: str) -> None:
        if not self._arguments.push(character):
            self._break("the arguments are no JSON object: a bracket is closed that was not opened")
            return
        self._add(Arguments(self._index, character))
        if not self._arguments.done:
            return
        try:
            json.loads(self._arguments.text(), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            self._break(f"the arguments are no JSON object: {error}")
            return
        self._read = self._close

    def _close(self, character: str) -> None:
        """After the arguments: the end of the call."""
        self._call.append(character)
        if character == "}":
            self._add(End(self._index, Call(self._name, self._arguments.text())))
            self._index += 1
            self._call, self._fresh, self._read = [], True, self._lead
        elif not character.isspace():
            self._break("the call goes on after its parameters")

    def _break(self, reason: str) -> None:
        self._add(Broken(self._index, "".join(self._call), reason))
        self._index += 1
        self._call, self._read = [], self._line
        self._fresh = self._listed = self._fenced = False

    # ----------------------------------------------------------------------------------------------------------- parts

    def _add(self, part: Part) -> None:
        if self._run and not _joins(self._run[-1], part):
            self._end_run()
        self._run.append(part)

    def _end_run(self) -> None:
        """Joins neighbours of one kind."""
        first = self._run[0]
        if len(self._run) > 1:
            text = "".join(part.text for part in self._run if isinstance(part, Text | Arguments))
            first = Arguments(first.index, text) if isinstance(first, Arguments) else Text(text)
        self._out.append(first)
        self._run = []

    def _take(self) -> list[Part]:
        if self._run:
            self._end_run()
        parts, self._out = self._out, []
        return parts


def _joins(one: Part, other: Part) -> bool:
    """Whether two neighbours can be told as one."""
    if isinstance(one, Text) and isinstance(other, Text):
        return not one.reason and not other.reason
    return isinstance(one, Arguments) and isinstance(other, Arguments)


class _Object:
    """Finds the end of a JSON object; whether it is one is left to `json`."""

    def __init__(self) -> None:
        self._characters: list[str] = []
        self._open: list[str] = []
        self._string = self._escaped = False

    @property
    def done(self) -> bool:
        """Whether its last bracket is closed."""
        return bool(self._characters) and not self._open

    def push(self, character: str) -> bool:
        """Takes the next character; False for a bracket that closes none."""
        self._characters.append(character)
        if self._string:
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            elif character == '"':
                self._string = False
        elif character == '"':
            self._string = True
        elif character in "{[":
            self._open.append("}" if character == "{" else "]")
        elif character in "}]":
            return self._open.pop() == character
        return True

    def text(self) -> str:
        """All of it so far."""
        return "".join(self._characters)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


# ----------------------------------------------------------------------------------------------------------------------
# What stands before the parameters


@dataclass(frozen=True)
class _Opening:
    """How a call may begin: the whole opening, and what may become one."""

    whole: re.Pattern[str]
    prefix: re.Pattern[str]


_FENCE = r"(?:```[A-Za-z_]*[ \t\r]*\n\s*)?"
_PART_OF_FENCE = r"(?:`{1,2}|```[A-Za-z_]*[ \t\r]*(?:\n\s*)?)?"
_OBJECT = [r"\{", r"\s*", *'"name"', r"\s*", ":", r"\s*", '"', r'(?P<name>[^"\\]*)', '"', r"\s*", ",", r"\s*"]
_OBJECT += ['"', r'(?P<key>[^"\\]*)', '"', r"\s*", ":", r"\s*", r"\{"]


def _opening(whole: str, prefix: str) -> _Opening:
    """The opening of the object, with what may stand before it."""
    rest = ""
    for atom in reversed(_OBJECT):  # each a character, or a run that may stop anywhere
        rest = f"(?:{re.sub('[?]P<[a-z]+>', '?:', atom)}{rest})?"
    return _Opening(re.compile(whole + "".join(_OBJECT)), re.compile(prefix + rest))


_FIRST = _opening(rf"\s*{_FENCE}(?:\[\s*)?", rf"\s*{_PART_OF_FENCE}(?:\[\s*)?")
_NEXT = _opening(r"\s*(?:,\s*)?", r"\s*(?:,\s*)?")
_LIKE = re.compile(r'[\s`A-Za-z_,\[]*\{\s*"name"\s*:')
_LIST = re.compile(r"[\s`A-Za-z_]*\[")
