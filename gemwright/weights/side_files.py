"""The small files that stand beside weights and go along with them: a tokenizer's, and the ids that end a text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gemwright.errors import UserError
from gemwright.text import pieces
from gemwright.text.export import write_folder
from gemwright.text.sentencepiece_file import CONTROL
from gemwright.text.tokenizer import FILES, Tokenizer
from gemwright.text.turns import soft_id, stop_ids
from gemwright.weights.gguf.generation import read_generation
from gemwright.weights.gguf.header import Header
from gemwright.weights.gguf.tokenizer import read_vocabulary
from gemwright.weights.hf_write import Marks

GENERATION = "generation_config.json"
TOKENIZER_FILES = (
    *FILES.values(),
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)


def tokenizer_files(folder: Path) -> list[Path]:
    """Those of a tokenizer's files that a folder has."""
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]


def picture_marks(files: Iterable[Path]) -> Marks | None:
    """The ids of a picture's marks in the vocabulary among those files; None where there is none, or it has no marks.
    Raises `UserError` for a damaged tokenizer."""
    path = next((path for path in files if path.name in FILES.values()), None)
    if path is None:
        return None
    tokenizer = Tokenizer.load(path)
    if tokenizer.start_of_image is None or tokenizer.end_of_image is None:
        return None
    return Marks(start=tokenizer.start_of_image, soft=soft_id(tokenizer), end=tokenizer.end_of_image)


def beside(folder: Path) -> tuple[list[Path], dict[str, dict[str, Any]]]:
    """What a folder whose weights were in another format gives to a Hugging Face folder: files to copy, and files to
    write, by name.

    Where nothing states how a text ends and the tokenizer has turn marks, a `generation_config.json` is written that
    names both stops: programs that read config.json alone know `<eos>` only, and a tuned model ends its turns with
    the mark. Raises `UserError` for a damaged tokenizer.
    """
    files = tokenizer_files(folder)
    if (folder / GENERATION).is_file():
        return [*files, folder / GENERATION], {}
    if not any(path.name in FILES.values() for path in files):
        return files, {}
    tokenizer = Tokenizer.load(folder)
    if not tokenizer.supports_turns:
        return files, {}
    ids = {"bos_token_id": tokenizer.bos, "eos_token_id": list(stop_ids(tokenizer)), "pad_token_id": tokenizer.pad}
    return files, {GENERATION: {key: value for key, value in ids.items() if value is not None}}


def unpacked(header: Header, folder: Path) -> tuple[list[Path], dict[str, dict[str, Any]]]:
    """As `beside`, from what a GGUF file holds: the tokenizer's files are written to `folder`.

    Raises `UserError` for a damaged tokenizer, or one whose first pieces are not Gemma's.
    """
    vocabulary = read_vocabulary(header)
    generation = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in read_generation(header, vocabulary).items()
    }
    documents = {GENERATION: generation} if generation else {}
    if vocabulary is None:
        return [], documents
    core, rest = vocabulary.pieces[: len(pieces.CORE)], vocabulary.pieces[len(pieces.CORE) :]
    if tuple(piece.text for piece in core) != pieces.CORE:
        raise UserError(
            f"{header.path}: its first pieces are not {', '.join(pieces.CORE)}", hint="is it the vocabulary of a Gemma?"
        )
    vocabulary.tokenizer(header.path)  # refuses what SentencePiece cannot read, before anything is written
    marks = tuple(piece.text for piece in rest if piece.kind == CONTROL or piece.text in pieces.SPECIAL)
    eos = vocabulary.tokens().get("eos_token", pieces.EOS)
    write_folder(vocabulary.model(), folder, marks, vocabulary.template, eos)
    return tokenizer_files(folder), documents
