"""Answers that follow a grammar: which tokens may come next, which must, and when the answer is complete.

The parser is llguidance's (extra `serve`); this file lends it our vocabulary. Where the grammar leaves a choice, every
token is allowed whose bytes go on with a text of the grammar; where it leaves none, the token that the tokenizer would
cut there. Special pieces never stand for their names, and end marks are allowed where the text so far is complete. A
number of a JSON answer ends at `digits.DIGITS` digits in a row where it may.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy
import torch
from torch import Tensor

from gemwright.engine import digits
from gemwright.engine.grammar import Grammar
from gemwright.errors import UserError
from gemwright.text import pieces
from gemwright.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import llguidance

LEXER_STATES = 20_000
"""States that the expressions of one grammar may grow to, about 2 kB each (llguidance's own limit is 250,000)."""

_KEPT = 4  # vocabularies that stay built; one of 262,144 pieces takes about a second and 110 MB
_COMPACT = {"whitespace_flexible": False}


class Constraint:
    """One answer on its way through a grammar.

    Before each draw `mask` says which ids may come; `take` tells what came. `forced` are ids that can be taken without
    asking the model. `copy` is cheap (microseconds): keep one to go back to. `taken` counts the ids so far.
    """

    def __init__(
        self, grammar: Grammar, tokenizer: Tokenizer, *, vocab: int, ends: Sequence[int] | None = None
    ) -> None:
        """Compiles the grammar: mostly about a millisecond, and a second once for each vocabulary.

        Args:
            grammar: what the answer must look like.
            tokenizer: the model's.
            vocab: rows of the model's table; those that are no piece are never allowed.
            ends: ids that end an answer; those that are ordinary pieces are subject to the grammar instead (default:
                `<eos>` and `<end_of_turn>`).

        Raises `UserError` without llguidance, and for a grammar that is wrong, too large, or that no text follows.
        """
        self._vocabulary = vocabulary(tokenizer)
        self._bytes_of = tokenizer.bytes_of
        self._vocab = vocab
        given = (tokenizer.eos, tokenizer.end_of_turn) if ends is None else ends
        self._ends = [id for id in given if id in self._vocabulary.special and id < vocab]
        self.taken = 0
        self._ended = False
        self._place = digits.Place() if grammar.json else None
        self._matcher = _compile(grammar, self._vocabulary)

    @property
    def done(self) -> bool:
        """Whether the answer is over: an end mark was taken, or nothing can follow, not even at the model's wish."""
        stopped = self._matcher.is_stopped() and self._matcher.is_accepting()  # it also stops where it fails
        return self._ended or stopped

    @property
    def complete(self) -> bool:
        """Whether the text so far follows the grammar; it may be able to go on."""
        return self._ended or self._matcher.is_accepting()

    def mask(self) -> Tensor:
        """Bool `[V]` on the CPU: the ids that may come next.

        Raises `UserError` where the grammar has become too complex to follow, or forbids every id; `ValueError` for an
        answer that is done.
        """
        if self.done:
            raise ValueError("the answer is complete: nothing can come next")
        _check(self._matcher, "cannot be followed any further")
        size = min(self._vocab, self._vocabulary.size)
        bits = _bits(self._matcher, size)
        _check(self._matcher, "cannot be followed any further")
        allowed = torch.zeros(self._vocab, dtype=torch.bool)
        allowed[:size] = bits & self._vocabulary.plain[:size]
        self._shorten(allowed[:size])
        if self._matcher.is_accepting():
            allowed[self._ends] = True
        if not bool(allowed.any()):
            raise UserError("the grammar leaves no token to draw", hint="no text of this vocabulary follows it")
        return allowed

    def _shorten(self, allowed: Tensor) -> None:
        """Forbids, in place, what would make a number too long, where it may end or go on in another way; where only
        digits may come, those behind which it cannot end, if there are others (zeros of a number that may not be 0)."""
        if self._place is None or self._place.text:
            return
        left = digits.DIGITS - self._place.run
        if self._vocabulary.longest <= left:
            return
        other = self._vocabulary.leading[: len(allowed)] <= left
        if bool((allowed & other).any()) or (self._ends and self._matcher.is_accepting()):
            allowed &= other
        elif bool(allowed.any()):
            ending = torch.zeros_like(allowed)
            ending[[id for id in allowed.nonzero().flatten().tolist() if self._ends_with(id)]] = True
            if bool(ending.any()):
                allowed &= ending

    def _ends_with(self, id: int) -> bool:
        """Whether a number may end behind this id."""
        ahead = self._matcher.deep_copy()
        ahead.try_consume_tokens([id])
        if ahead.is_accepting():
            return True
        return bool((_bits(ahead, self._vocabulary.size) & (self._vocabulary.leading == 0)).any())

    def apply(self, logits: Tensor) -> None:
        """Sets what may not come next to -inf, in place. `logits`: float `[V]`, on any device. Raises as `mask`."""
        logits.masked_fill_(~self.mask().to(logits.device), float("-inf"))

    def take(self, id: int) -> None:
        """The next id of the answer, drawn or forced. Raises `ValueError` for one that may not come; the answer then
        stands where it stood."""
        if self._ended:
            raise ValueError(f"id {id} comes after the end of the answer")
        if id in self._ends and self._matcher.is_accepting():
            self._ended = True
            self.taken += 1
            return
        known = 0 <= id < min(self._vocab, self._vocabulary.size) and id not in self._vocabulary.special
        # A parser that gives up is no mistake of the caller's: the next mask says why.
        if not known or (self._matcher.try_consume_tokens([id]) != 1 and not self._matcher.is_error()):
            raise ValueError(f"id {id} may not come here")
        if self._place is not None:
            self._place = self._place.after(self._bytes_of(id))
        self.taken += 1

    def forced(self) -> list[int]:
        """The ids that must come next, cut as the tokenizer cuts their text; possibly none. They are not taken yet.

        The last few bytes of a forced text are left to the model where they may be part of a longer piece.
        """
        if self.done:
            return []
        found: list[int] = []
        for id in self._matcher.compute_ff_tokens():
            if id in self._vocabulary.special or id >= self._vocab:
                break
            found.append(id)
        return found

    def copy(self) -> Constraint:
        """This place in the answer; the two then go their own ways."""
        other = object.__new__(Constraint)
        other.__dict__.update(self.__dict__)
        other._matcher = self._matcher.deep_copy()
        return other


# ----------------------------------------------------------------------------------------------------------------------
# Grammars


def _compile(grammar: Grammar, built: Vocabulary) -> llguidance.LLMatcher:
    import llguidance

    limits = llguidance.LLParserLimits(max_lexer_states=LEXER_STATES, verbose_errors=False)
    try:
        matcher = llguidance.LLMatcher(built.trie, _source(grammar), log_level=0, limits=limits)
    except ValueError as error:
        raise _refusal(str(error), "cannot be read") from error
    _check(matcher, "cannot be followed")
    first = matcher.deep_copy()  # a look at the first choice shows most of what is too wide, or leads nowhere
    first.try_consume_tokens(first.compute_ff_tokens())
    first.compute_bitmask()
    if first.is_stopped() and not first.is_accepting():
        reason = first.get_error() if first.is_error() else ""
        raise _refusal(reason if "NoExtension" not in reason else "no text follows it", "cannot be followed")
    return matcher


def _source(grammar: Grammar) -> str:
    """The grammar in llguidance's own form."""
    from llguidance import LLMatcher

    if grammar.kind == "schema":
        options: Any = _COMPACT | {"lenient": not grammar.strict}
        return LLMatcher.grammar_from_json_schema(grammar.text, overrides=options)
    if grammar.kind == "regex":
        return LLMatcher.grammar_from_regex(grammar.text)
    if grammar.kind == "choices":
        texts = [json.dumps(text, ensure_ascii=False) for text in json.loads(grammar.text)]
        return LLMatcher.grammar_from_lark("start: " + " | ".join(texts))
    return LLMatcher.grammar_from_lark(grammar.text)


def _bits(matcher: llguidance.LLMatcher, size: int) -> Tensor:
    """Bool `[size]`: the ids that the parser lets come next."""
    packed = numpy.frombuffer(matcher.compute_bitmask(), numpy.uint8)
    return torch.from_numpy(numpy.unpackbits(packed, count=size, bitorder="little")).bool()


def _check(matcher: llguidance.LLMatcher, what: str) -> None:
    if matcher.is_error():
        raise _refusal(matcher.get_error(), what)


def _refusal(reason: str, what: str) -> UserError:
    """llguidance's words in one line; its drawings of the place in a long text are left out."""
    words = " ".join(reason.replace("<non-verbose/>", "").split())
    words = words if len(words) <= 240 else words[:160] + " … " + words[-80:]
    return UserError(f"the grammar {what}: {words}", hint="correct the schema, expression or grammar, or simplify it")


# ----------------------------------------------------------------------------------------------------------------------
# The vocabulary, as llguidance wants it


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's pieces as a tree of bytes. `special`: ids that never stand for their names; `plain`: bool
    `[size]`, all the others. `leading`: `[size]`, the digits that each id's bytes begin with; `longest`: the most of
    them."""

    trie: llguidance.LLTokenizer
    special: frozenset[int]
    plain: Tensor
    leading: Tensor
    longest: int
    size: int


class _Pieces:
    """What llguidance asks of a tokenizer: every id's bytes, and a text's ids."""

    is_tokenizer_wrapper = True

    def __init__(self, tokenizer: Tokenizer, special: frozenset[int]) -> None:
        self.eos_token_id = tokenizer.eos
        self.bos_token_id = tokenizer.bos
        self.tokens = [tokenizer.bytes_of(id) for id in range(tokenizer.vocab_size)]
        self.special_token_ids = sorted(special)
        self._encode = tokenizer.encode

    def __call__(self, text: str) -> list[int]:
        return self._encode(text)


_lock = threading.Lock()
_names: weakref.WeakKeyDictionary[Tokenizer, tuple[str, int]] = weakref.WeakKeyDictionary()
_built: dict[tuple[str, int], Vocabulary] = {}


def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    """The tokenizer's vocabulary for constraints: built once for equal ones, about a second for 262,144 pieces.

    Raises `UserError` without llguidance.
    """
    try:
        from llguidance import LLTokenizer
    except ImportError as error:
        raise UserError("structured output needs llguidance", hint="pip install 'gemwright[serve]'") from error
    with _lock:  # a server compiles in several threads
        name = _names.get(tokenizer)
        if name is None:
            # Reading the pieces takes a while; the size tells apart what the fingerprint leaves out.
            name = _names[tokenizer] = (tokenizer.fingerprint(), tokenizer.vocab_size)
        if name not in _built:
            special = _special(tokenizer)
            wrapped: Any = _Pieces(tokenizer, special)
            trie = LLTokenizer(wrapped, eos_token=tokenizer.eos)
            while len(_built) >= _KEPT:
                del _built[next(iter(_built))]
            plain = torch.ones(tokenizer.vocab_size, dtype=torch.bool)
            plain[sorted(special)] = False
            leading = torch.tensor([digits.leading(piece) for piece in wrapped.tokens], dtype=torch.int32)
            _built[name] = Vocabulary(trie, special, plain, leading, int(leading.max()), tokenizer.vocab_size)
            wrapped.tokens = []
        return _built[name]


def _special(tokenizer: Tokenizer) -> frozenset[int]:
    """Control marks and reserved names: what plain text never gives."""
    names = pieces.unparsed(tokenizer.piece(id) for id in range(tokenizer.vocab_size))
    ids = {id for name in names if (id := tokenizer.id_of(name)) is not None}
    return tokenizer.special_ids | ids
