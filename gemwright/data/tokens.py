"""Documents tokenised once, in a file that is mapped and not read.

A file of tokens is a folder: `tokens.bin` holds, document after document, the ids of the text and the end piece (as
uint16 where the vocabulary allows it, else uint32); `index.npy`, int64 `[documents + 1, 2]`, the token and the byte of
UTF-8 at which each begins, and the totals at the end; `meta.json` says what was tokenised by what, and its digest.
The begin piece is not stored: packing puts it before every piece that it cuts.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from array import array
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy

from gemwright.data.documents import Digest, Document
from gemwright.errors import UserError


class Encoder(Protocol):
    """What is needed of a tokenizer here."""

    bos: int
    eos: int

    @property
    def vocab_size(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def fingerprint(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What a file of tokens holds. `digest` is the sha256 over the documents' names and texts; `empty` counts
    documents without a token, which were dropped; `bytes` is the size of the texts in UTF-8."""

    digest: str
    tokenizer: str
    bos: int
    dtype: str
    documents: int
    empty: int
    tokens: int
    bytes: int


class TokenFile:
    """A folder of tokens, mapped. `ids` is `[tokens]`; document d has the tokens `starts[d]` to `starts[d + 1]` and
    the bytes `byte_starts[d]` to `byte_starts[d + 1]`.

    Raises `UserError` for a folder that is absent, damaged or cut short.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.meta = Meta(**json.loads((self.folder / "meta.json").read_text(encoding="utf-8")))
            index = numpy.load(self.folder / "index.npy", allow_pickle=False)
            self.ids = numpy.memmap(self.folder / "tokens.bin", dtype=self.meta.dtype, mode="r")
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{self.folder} is no folder of tokens: {error}", hint="delete it; it is made anew from the texts"
            ) from error
        wanted = (self.meta.documents + 1, 2)
        if index.shape != wanted or len(self.ids) != self.meta.tokens or index[-1, 0] != self.meta.tokens:
            raise UserError(
                f"{self.folder} is damaged: {len(self.ids)} tokens and an index of shape {index.shape}, where its"
                f" meta.json says {self.meta.tokens} and {wanted}",
                hint="delete it; it is made anew from the texts",
            )
        self.starts, self.byte_starts = index[:, 0], index[:, 1]

    def fingerprint(self) -> str:
        """A digest of what decides the ids."""
        return hashlib.sha256(json.dumps(asdict(self.meta), sort_keys=True).encode()).hexdigest()[:32]


def tokenise(documents: Iterable[Document], tokenizer: Encoder, folder: str | Path) -> TokenFile:
    """Writes the tokens of `documents` to `folder`, which appears whole or not at all, and replaces an older one.

    Memory holds one document at a time, and 16 bytes per document. Raises `UserError` where nothing is left to train
    on, or the disk is full.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = folder.parent / f".{folder.name}-{os.getpid()}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}", hint="choose another folder") from error
    try:
        _write(documents, tokenizer, work)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(work, folder)
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror}", hint="make room, or choose another folder"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return TokenFile(folder)


def _write(documents: Iterable[Document], tokenizer: Encoder, folder: Path) -> None:
    dtype = "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"
    digest = Digest()
    index = array("q", (0, 0))
    empty = tokens = size = 0
    with (folder / "tokens.bin").open("wb") as file:
        for document in documents:
            digest.add(document)
            ids = tokenizer.encode(document.text)
            if not ids:
                empty += 1
                continue
            numpy.asarray([*ids, tokenizer.eos], dtype=dtype).tofile(file)
            tokens += len(ids) + 1
            size += len(document.text.encode("utf-8", "surrogatepass"))
            index.extend((tokens, size))
    if not tokens:
        raise UserError("the texts hold nothing to train on", hint="give other files, or a smaller held-out share")
    table = numpy.frombuffer(index, dtype=numpy.int64).reshape(-1, 2)
    numpy.save(folder / "index.npy", table)
    meta = Meta(
        digest=digest.hex,
        tokenizer=tokenizer.fingerprint(),
        bos=tokenizer.bos,
        dtype=dtype,
        documents=len(table) - 1,
        empty=empty,
        tokens=tokens,
        bytes=size,
    )
    (folder / "meta.json").write_text(json.dumps(asdict(meta), indent=1) + "\n", encoding="utf-8")
