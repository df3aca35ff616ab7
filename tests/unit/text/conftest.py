"""Vocabularies for the text tests: one trained in a moment, and two that hold Gemma's published ids."""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gemwright.text import export, pieces, sentencepiece_file
from gemwright.text.pieces import GEMMA_2, GEMMA_3, Vocabulary
from gemwright.text.sentencepiece_file import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Piece
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.train import train_tokenizer

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
SOURCES = [LIBRARY / name for name in ("argparse.py", "ast.py", "textwrap.py", "inspect.py", "json/decoder.py")]


@dataclass(frozen=True)
class Golden:
    """A user message and the ids of its conversation, generation prompt included, in a published vocabulary."""

    vocabulary: Vocabulary
    text: str
    words: tuple[str, ...]
    ids: tuple[int, ...]


# Sequences that several public test suites of Gemma implementations hold.
GOLDEN = (
    Golden(GEMMA_3, "Hello", ("Hello",), (2, 105, 2364, 107, 9259, 106, 107, 105, 4368, 107)),
    Golden(
        GEMMA_3,
        "Why is the sky blue",
        ("Why", "▁is", "▁the", "▁sky", "▁blue"),
        (2, 105, 2364, 107, 36425, 563, 506, 7217, 3730, 106, 107, 105, 4368, 107),
    ),
    Golden(
        GEMMA_2,
        "What is the capital of France?",
        ("What", "▁is", "▁the", "▁capital", "▁of", "▁France", "?"),
        (2, 106, 1645, 108, 1841, 603, 573, 6037, 576, 6081, 235336, 107, 108, 106, 2516, 108),
    ),
)
ROLE_IDS = {GEMMA_2.newline: {"user": 1645, "model": 2516}, GEMMA_3.newline: {"user": 2364, "model": 4368}}


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained vocabulary of 1,200 pieces in both forms."""
    folder = tmp_path_factory.mktemp("small")
    train_tokenizer(SOURCES, 1200, folder)
    return folder


@pytest.fixture(scope="session", params=["json", "model"])
def small(request: pytest.FixtureRequest, small_folder: Path) -> Tokenizer:
    """The trained vocabulary, read from each of its two files in turn."""
    return Tokenizer.load(small_folder, prefer=request.param)


@pytest.fixture(scope="session")
def small_json(small_folder: Path) -> Tokenizer:
    return Tokenizer.load(small_folder, prefer="json")


@pytest.fixture(scope="session")
def small_model(small_folder: Path) -> Tokenizer:
    return Tokenizer.load(small_folder, prefer="model")


def golden_pieces(vocabulary: Vocabulary) -> list[Piece]:
    """A vocabulary with the golden pieces at their published ids and fillers everywhere else.

    Every word is reachable by merges: its beginnings, letter by letter, take free ids.
    """
    at: dict[int, Piece] = {}
    last = max(token for golden in GOLDEN if golden.vocabulary is vocabulary for token in golden.ids)
    for name, token in vocabulary.ids.items():
        if token <= last:  # the image marks lie far behind, and filling the way to them takes seconds
            kind = UNKNOWN if name == pieces.UNKNOWN else CONTROL if name in pieces.CORE else USER_DEFINED
            at[token] = Piece(name, 0.0, kind)
    for length in range(1, 32):
        at[vocabulary.newline + length - 1] = Piece("\n" * length, 0.0, USER_DEFINED)
    words = dict(ROLE_IDS[vocabulary.newline])
    for golden in GOLDEN:
        if golden.vocabulary is vocabulary:
            words |= dict(zip(golden.words, golden.ids[4:], strict=False))
    at |= {token: Piece(word, -float(len(word)), NORMAL) for word, token in words.items()}
    known = set(words)
    extra: list[Piece] = []
    for word in words:
        for length in range(1, len(word) + 1):
            for part in (word[:length], word[length - 1]):
                if part not in known:
                    known.add(part)
                    extra.append(Piece(part, -float(len(part)), NORMAL))
    extra += [Piece(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    waiting: Iterator[Piece] = iter(extra)
    fillers = (Piece(f"<unused{number}>", 0.0, UNUSED) for number in range(vocabulary.size))
    for token in range(max(at) + 1):
        if token not in at:
            filler = next(fillers)
            at[token] = next(waiting, filler) if token > 300 else filler
    return [at[token] for token in range(len(at))]


def write_golden(vocabulary: Vocabulary, small_folder: Path, folder: Path) -> None:
    """Write that vocabulary in both forms."""
    like = sentencepiece_file.parse((small_folder / "tokenizer.model").read_bytes())
    model = replace(like, pieces=golden_pieces(vocabulary))
    (folder / "tokenizer.model").write_bytes(sentencepiece_file.serialize(model))
    specials = tuple(name for name in vocabulary.ids if name not in (*pieces.CORE, pieces.IMAGE_SOFT))
    tree = export.tokenizer_json(model, specials)
    if pieces.IMAGE_SOFT in vocabulary.ids:
        soft = {"id": len(model.pieces), "content": pieces.IMAGE_SOFT, "special": True, "single_word": False}
        tree["added_tokens"].append(soft | {"lstrip": False, "rstrip": False, "normalized": False})
    (folder / "tokenizer.json").write_text(json.dumps(tree), encoding="utf-8")


@pytest.fixture(scope="session")
def golden_folders(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Folders with the published ids, by the id of the line break: 108 for Gemma 2, 107 for Gemma 3."""
    folders: dict[int, Path] = {}
    for vocabulary in (GEMMA_2, GEMMA_3):
        folders[vocabulary.newline] = tmp_path_factory.mktemp("golden")
        write_golden(vocabulary, small_folder, folders[vocabulary.newline])
    return folders


@pytest.fixture(scope="session", params=GOLDEN, ids=lambda golden: golden.text.split()[0])
def golden(request: pytest.FixtureRequest) -> Golden:
    """Each published sequence in turn."""
    return request.param


@pytest.fixture(scope="session")
def golden_loaded(golden_folders: dict[int, Path]) -> dict[int, list[Tokenizer]]:
    """Both forms of both vocabularies, loaded once."""
    return {
        line_break: [Tokenizer.load(folder, prefer=form) for form in ("json", "model")]
        for line_break, folder in golden_folders.items()
    }


@pytest.fixture
def golden_tokenizers(golden: Golden, golden_loaded: dict[int, list[Tokenizer]]) -> list[Tokenizer]:
    """Both forms of the vocabulary that the sequence is written in."""
    return golden_loaded[golden.vocabulary.newline]
