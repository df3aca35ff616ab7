"""Documents tokenised once, in a file that is mapped and not read.

A file of tokens is a folder: `tokens.bin` holds, document after document, the ids of the text and the end piece (as
uint16 where the vocabulary allows it, else uint32); of a conversation, the ids of its turns up to the end of the
model's last one. `loss.bin`, a byte per token, says which are learnt (1) and which are only read (0); it is absent
where all are learnt. `index.npy`, int64 `[documents + 1, 2]`, holds the token at which each document begins, and how
many bytes of UTF-8 are learnt before it, and the totals at the end; `meta.json` says what was tokenised by what, and
its digest. The begin piece is not stored: packing puts it before every piece that it cuts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy

from gemwright.data.documents import Conversation, Digest, Document, size
from gemwright.data.report import Report
from gemwright.errors import UserError
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import ROLES, Role, render

FORMAT = 2  # 1 had no loss mask


class Encoder(Protocol):
    """What is needed of a tokenizer here; conversations need a whole `Tokenizer`."""

    bos: int
    eos: int

    @property
    def vocab_size(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def fingerprint(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What a file of tokens holds. `digest` is the sha256 over the documents' names and texts; `documents` counts
    conversations too; `dropped`: how many were not stored, by reason ("empty": without a token; "no answer": a
    conversation without a model's turn); `weighted`: is there a loss mask? `targets`: how many tokens are learnt;
    `bytes`: the size in UTF-8 of the texts that are learnt."""

    format: int
    digest: str
    tokenizer: str
    bos: int
    dtype: str
    documents: int
    conversations: int
    dropped: dict[str, int]
    tokens: int
    weighted: bool
    targets: int
    bytes: int


class TokenFile:
    """A folder of tokens, mapped. `ids` is `[tokens]`; document d has the tokens `starts[d]` to `starts[d + 1]` and
    the learnt bytes `byte_starts[d]` to `byte_starts[d + 1]`. `loss` is uint8 `[tokens]`, 1 where a token is learnt,
    or None where all are.

    Raises `UserError` for a folder that is absent, damaged, cut short or of another format.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.meta = _meta(self.folder)
            index = numpy.load(self.folder / "index.npy", allow_pickle=False)
            self.ids = numpy.memmap(self.folder / "tokens.bin", dtype=self.meta.dtype, mode="r")
            self.loss = numpy.memmap(self.folder / "loss.bin", dtype="uint8", mode="r") if self.meta.weighted else None
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{self.folder} is no folder of tokens: {error}", hint="delete it; it is made anew from the texts"
            ) from error
        wanted = (self.meta.documents + 1, 2)
        sizes = {len(self.ids), len(self.ids if self.loss is None else self.loss), self.meta.tokens}
        if index.shape != wanted or len(sizes) > 1 or index[-1, 0] != self.meta.tokens:
            raise UserError(
                f"{self.folder} is damaged: {len(self.ids)} tokens and an index of shape {index.shape}, where its"
                f" meta.json says {self.meta.tokens} and {wanted}",
                hint="delete it; it is made anew from the texts",
            )
        self.starts, self.byte_starts = index[:, 0], index[:, 1]

    def fingerprint(self) -> str:
        """A digest of what decides the ids."""
        return hashlib.sha256(json.dumps(asdict(self.meta), sort_keys=True).encode()).hexdigest()[:32]


def _meta(folder: Path) -> Meta:
    found = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    if isinstance(found, dict) and found.get("format", 1) != FORMAT:
        raise UserError(
            f"{folder} was written by another version (format {found.get('format', 1)}; this one reads {FORMAT})",
            hint="delete it; it is made anew from the texts",
        )
    return Meta(**found)


def tokenise(documents: Iterable[Document | Conversation], tokenizer: Encoder, folder: str | Path) -> TokenFile:
    """Writes the tokens of `documents` to `folder`, which appears whole or not at all, and replaces an older one.

    Memory holds one document at a time, and 16 bytes per document. Raises `UserError` where nothing is left to train
    on, or the disk is full.
    """
    with Writer(tokenizer, folder) as writer:
        for document in documents:
            writer.add(document)
        return writer.finish()


class Writer:
    """A folder of tokens in the making: entered, given documents, finished. Left before that, it leaves nothing.

    `report` counts what was stored and what was dropped. Every method raises `UserError` where the folder cannot be
    written.
    """

    def __init__(self, tokenizer: Encoder, folder: str | Path) -> None:
        self.report = Report()
        self._tokenizer, self._folder = tokenizer, Path(folder)
        self._work = self._folder.parent / f".{self._folder.name}-{os.getpid()}"
        self._dtype = "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"
        self._digest = Digest()
        self._index = array("q", (0, 0))
        self._targets = 0
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Writer:
        with self._writing():
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self._work, ignore_errors=True)
            self._work.mkdir()
            self._ids = self._open.enter_context((self._work / "tokens.bin").open("wb"))
            self._loss = self._open.enter_context((self._work / "loss.bin").open("wb"))
        return self

    def __exit__(self, *_: object) -> None:
        # A full disk may refuse the last buffer; what it was for is deleted anyway.
        with contextlib.suppress(OSError):
            self._open.close()
        shutil.rmtree(self._work, ignore_errors=True)

    def add(self, document: Document | Conversation) -> None:
        """One document more, or one dropped."""
        self._digest.add(document)
        if isinstance(document, Document):
            ids = self._tokenizer.encode(document.text)
            if not ids:
                return self.report.drop("empty", document.name)
            ids, loss, learnt = [*ids, self._tokenizer.eos], b"\x01" * (len(ids) + 1), size(document)
            self.report.documents += 1
        else:
            answers = [message.text.strip() for message in document.messages if ROLES.get(message.role) is Role.MODEL]
            if not any(answers):
                return self.report.drop("no answer", document.name)
            ids, loss = _turns(document, self._tokenizer)
            learnt = sum(len(answer.encode("utf-8", "surrogatepass")) for answer in answers)
            self.report.conversations += 1
        self.report.bytes += learnt
        self._targets += loss.count(1)
        self._index.extend((self._index[-2] + len(ids), self._index[-1] + learnt))
        with self._writing():
            self._ids.write(numpy.asarray(ids, dtype=self._dtype).tobytes())
            self._loss.write(loss)

    def finish(self) -> TokenFile:
        """Puts the folder in its place. Raises `UserError` where no document was stored."""
        table = numpy.frombuffer(self._index, dtype=numpy.int64).reshape(-1, 2)
        tokens, learnt = table[-1].tolist()
        if not tokens:
            raise UserError("the texts hold nothing to train on", hint="give other files, or a smaller held-out share")
        meta = Meta(
            format=FORMAT,
            digest=self._digest.hex,
            tokenizer=self._tokenizer.fingerprint(),
            bos=self._tokenizer.bos,
            dtype=self._dtype,
            documents=len(table) - 1,
            conversations=self.report.conversations,
            dropped=dict(sorted(self.report.dropped.items())),
            tokens=tokens,
            weighted=self._targets < tokens,
            targets=self._targets,
            bytes=learnt,
        )
        with self._writing():
            self._open.close()
            if not meta.weighted:
                (self._work / "loss.bin").unlink()
            numpy.save(self._work / "index.npy", table)
            (self._work / "meta.json").write_text(json.dumps(asdict(meta), indent=1) + "\n", encoding="utf-8")
            if self._folder.exists():
                shutil.rmtree(self._folder)
            os.replace(self._work, self._folder)
        return TokenFile(self._folder)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            hint = "make room, or choose another folder"
            raise UserError(f"cannot write {self._folder}: {error.strerror or error}", hint=hint) from error


def _turns(conversation: Conversation, tokenizer: Encoder) -> tuple[list[int], bytes]:
    """The ids of a conversation without its begin piece, and which of them are learnt; it ends with the last of those:
    nothing that comes after it is seen by what is learnt."""
    if not isinstance(tokenizer, Tokenizer):
        raise ValueError(f"{type(tokenizer).__name__} has no turn marks: conversations need a Tokenizer")
    rendered = render(conversation.messages, tokenizer, add_generation_prompt=False)
    loss = bytes(rendered.loss)
    end = loss.rindex(1) + 1
    return rendered.ids[1:end], loss[1:end]
