"""A new vocabulary from text, with the settings of Gemma's: SentencePiece BPE over untouched text.

Digits stand alone, white space is kept as it is, no space is put in front, characters that are too rare become bytes
(Gemma 3 report, "Tokenizer"; Gemma report, section 2). Ids 0 to 4 are pad, eos, bos, unk and mask; then come the turn
marks (and, for Gemma 3, the image marks and the soft token's), then runs of line breaks, spaces and tabs as pieces that
text matches greedily, the bytes, the merges and the characters.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from gemwright.errors import UserError
from gemwright.paths import probe
from gemwright.text import pieces
from gemwright.text.export import FILES, write_folder

LINE_CHARACTERS = 1000
"""Longer lines are cut (at a space where there is one): SentencePiece drops lines above 4,192 bytes."""


@dataclass(frozen=True)
class Trained:
    """What a training run made: its folder, the number of pieces, and how much of the text it read it also used."""

    folder: Path
    vocab_size: int
    bytes_read: int
    bytes_used: int


class _Corpus:
    """The files' lines, one after another, thinned evenly so that about `budget` bytes are kept in all.

    SentencePiece holds what it is given in memory; the files themselves are never held. What goes wrong in reading
    is kept in `problem`, because an exception must not travel through the library's C++ frames.
    """

    def __init__(self, files: Iterable[Path], budget: int) -> None:
        self._files = list(files)
        self.total = sum(_size(path) for path in self._files)
        self._share = min(1.0, budget / max(self.total, 1))
        self.read = 0
        self.used = 0
        self.problem: UserError | None = None

    def __iter__(self) -> Iterator[str]:
        credit = 0.0
        for path in self._files:
            try:
                for line in _lines(path):
                    size = len(line.encode("utf-8"))
                    self.read += size
                    credit += self._share * size
                    if credit >= size or self._share == 1.0:
                        credit -= size
                        self.used += size
                        yield line
            except (OSError, UnicodeDecodeError) as error:
                self.problem = UserError(f"{path}: cannot be read as UTF-8 text: {error}", hint="leave this file out")
                return


def _size(path: Path) -> int:
    if not path.is_file():
        raise UserError(f"{path}: no such file", hint="name text files to train on")
    return path.stat().st_size


def _lines(path: Path) -> Iterator[str]:
    """The file's lines without their breaks, long ones cut, empty ones left out."""
    with path.open(encoding="utf-8", newline="\n") as file:
        rest = ""
        while chunk := file.readline(LINE_CHARACTERS):
            ended = chunk.endswith("\n")
            rest += chunk
            while len(rest) > LINE_CHARACTERS or (ended and rest):
                line, rest = _cut(rest.rstrip("\r\n") if ended else rest)
                if line:
                    yield line
                ended = ended and bool(rest)
        while rest:
            line, rest = _cut(rest)
            yield line


def _cut(text: str) -> tuple[str, str]:
    if len(text) <= LINE_CHARACTERS:
        return text, ""
    at = text.rfind(" ", 1, LINE_CHARACTERS)
    at = at if at > 0 else LINE_CHARACTERS
    return text[:at], text[at:]


def train_tokenizer(
    files: Iterable[str | Path],
    vocab_size: int,
    out_folder: str | Path,
    family: str = "gemma3",
    text_budget: int = 256_000_000,
    threads: int = 1,
    overwrite: bool = False,
) -> Trained:
    """Train a vocabulary of exactly `vocab_size` pieces and write it to `out_folder` in both forms.

    The folder gets tokenizer.model, tokenizer.json, tokenizer_config.json (with the chat layout as a template) and
    special_tokens_map.json. The result depends on the files' bytes, their order and the arguments alone. Files are
    read as UTF-8 in bounded memory; text beyond `text_budget` bytes is thinned evenly, line by line.

    Raises:
        UserError: a file is missing or not UTF-8, there is no text, the text yields fewer (or needs more) pieces
            than `vocab_size`, or `out_folder` holds a tokenizer already and `overwrite` is false.
        ValueError: `family` is unknown.
    """
    folder = probe(out_folder)
    if not overwrite:
        _refuse_taken(folder)
    specials = pieces.training_specials(family)
    user_defined = (*specials, *pieces.run_pieces(vocab_size))
    least = len(pieces.CORE) + len(user_defined) + 256
    if vocab_size <= least:
        raise UserError(
            f"a vocabulary of {vocab_size} pieces has no room for words: marks, white space and bytes take {least}",
            hint="ask for 500 pieces or more",
        )
    corpus = _Corpus([probe(file) for file in files], text_budget)
    model = io.BytesIO()
    try:
        _run(corpus, model, vocab_size, user_defined, threads)
    except RuntimeError as error:
        raise corpus.problem or _explained(str(error), corpus, vocab_size) from error
    if corpus.problem:
        raise corpus.problem
    try:
        write_folder(model.getvalue(), folder, specials)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error}", hint="choose another folder") from error
    return Trained(folder, vocab_size, corpus.read, corpus.used)


def _refuse_taken(folder: Path) -> None:
    try:
        taken = next((name for name in FILES if (folder / name).exists()), None)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: cannot be written: {error}", hint="choose another folder") from error
    if taken:
        raise UserError(
            f"{folder} holds a tokenizer already ({taken})", hint="choose another folder, or ask to overwrite it"
        )


def _run(corpus: _Corpus, model: io.BytesIO, vocab_size: int, user_defined: tuple[str, ...], threads: int) -> None:
    pad, eos, bos, unknown, mask = pieces.CORE
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        character_coverage=0.9995,
        required_chars="0123456789",
        split_digits=True,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        # 0 to 3, then the mask as the first control piece, then the user-defined pieces in this order
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece=pad,
        eos_piece=eos,
        bos_piece=bos,
        unk_piece=unknown,
        control_symbols=[mask],
        user_defined_symbols=list(user_defined),
        shuffle_input_sentence=False,
        num_threads=threads,
        minloglevel=2,
    )


def _explained(problem: str, corpus: _Corpus, vocab_size: int) -> UserError:
    """SentencePiece's complaint in words about the text and the size asked for."""
    if corpus.used == 0:
        return UserError("there is no text to train on", hint="name UTF-8 text files that are not empty")
    if most := re.search(r"too high .*<= (\d+)", problem):
        return UserError(
            f"{corpus.used} bytes of text yield at most {most.group(1)} pieces, not {vocab_size}",
            hint="give more text or ask for fewer pieces",
        )
    if needed := re.search(r"smaller than required_chars\. \d+ vs (\d+)", problem):
        return UserError(
            f"the text's characters need {needed.group(1)} pieces, more than {vocab_size}",
            hint=f"ask for well over {needed.group(1)} pieces or leave out files in rare scripts",
        )
    return UserError(f"SentencePiece could not train: {problem}", hint="check the text files and the size asked for")
