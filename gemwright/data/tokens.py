"""Documents tokenised once, in a file that is mapped and not read.

A file of tokens is a folder: `tokens.bin` holds, document after document, the ids of the text and the end piece (as
uint16 where the vocabulary allows it, else uint32); of a conversation, the ids of its turns up to the end of the
model's last one. `loss.bin`, a byte per token, says which are learnt (1) and which are only read (0); it is absent
where all are learnt. `index.npy`, int64 `[documents + 1, 2]`, holds the token at which each document begins, and how
many bytes of UTF-8 are learnt before it, and the totals at the end; `meta.json` says what was tokenised by what, and
its digest. The begin piece is not stored: packing puts it before every piece that it cuts.

Where conversations show pictures, `pictures.npy`, int64 `[pictures, 2]`, holds the first soft token of each and the
line of `shown.jsonl` that names it: its fingerprint and its file. No pixels are stored; pictures that the records
themselves held lie as files in `shown/`.
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
from typing import Any, Protocol

import numpy

from gemwright.data.documents import Conversation, Digest, Document, size
from gemwright.data.pictures import Shown
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
    `bytes`: the size in UTF-8 of the texts that are learnt; `pictures`: how many are shown, `picture_tokens`: the soft
    tokens that each takes (both 0, and absent from the file, where there are none)."""

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
    pictures: int = 0
    picture_tokens: int = 0

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values. Where there are no pictures they are not spoken of: the fingerprint of texts is
        what it was before there were any."""
        fields = asdict(self)
        return fields if self.pictures else {name: value for name, value in fields.items() if "picture" not in name}


class TokenFile:
    """A folder of tokens, mapped. `ids` is `[tokens]`; document d has the tokens `starts[d]` to `starts[d + 1]` and
    the learnt bytes `byte_starts[d]` to `byte_starts[d + 1]`. `loss` is uint8 `[tokens]`, 1 where a token is learnt,
    or None where all are. `places` is int64 `[pictures, 2]`: the first soft token of each picture, in order, and its
    number in `shown`, the different pictures.

    Raises `UserError` for a folder that is absent, damaged, cut short or of another format.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.meta = _meta(self.folder)
            index = numpy.load(self.folder / "index.npy", allow_pickle=False)
            self.ids = numpy.memmap(self.folder / "tokens.bin", dtype=self.meta.dtype, mode="r")
            self.loss = numpy.memmap(self.folder / "loss.bin", dtype="uint8", mode="r") if self.meta.weighted else None
            self.places, self.shown = _pictures(self.folder, self.meta.pictures)
        except (OSError, ValueError, TypeError, LookupError, EOFError) as error:
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
        return hashlib.sha256(json.dumps(self.meta.to_json(), sort_keys=True).encode()).hexdigest()[:32]


def _meta(folder: Path) -> Meta:
    found = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    if isinstance(found, dict) and found.get("format", 1) != FORMAT:
        raise UserError(
            f"{folder} was written by another version (format {found.get('format', 1)}; this one reads {FORMAT})",
            hint="delete it; it is made anew from the texts",
        )
    return Meta(**found)


def _pictures(folder: Path, count: int) -> tuple[numpy.ndarray, tuple[Shown, ...]]:
    """`places` and `shown`. Raises `ValueError` where they do not belong together."""
    if not count:
        return numpy.zeros((0, 2), dtype=numpy.int64), ()
    places = numpy.load(folder / "pictures.npy", allow_pickle=False)
    with (folder / "shown.jsonl").open(encoding="utf-8") as lines:
        # A path from the root stays what it is; one of this folder is relative to it.
        shown = tuple(Shown(one["sha256"], folder / one["file"]) for one in map(json.loads, lines))
    if places.shape != (count, 2) or len(shown) != places[:, 1].max() + 1:
        raise ValueError(f"{len(places)} pictures, where its meta.json says {count}")
    return places, shown


def tokenise(
    documents: Iterable[Document | Conversation],
    tokenizer: Encoder,
    folder: str | Path,
    *,
    picture_tokens: int | None = None,
) -> TokenFile:
    """Writes the tokens of `documents` to `folder`, which appears whole or not at all, and replaces an older one.
    `picture_tokens`: what a picture becomes in the model (None: it sees none, and a picture is a mistake).

    Memory holds one document at a time, and 16 bytes per document. Raises `UserError` where nothing is left to train
    on, or the disk is full.
    """
    with Writer(tokenizer, folder, picture_tokens=picture_tokens) as writer:
        for document in documents:
            writer.add(document)
        return writer.finish()


class Writer:
    """A folder of tokens in the making: entered, given documents, finished. Left before that, it leaves nothing.

    `report` counts what was stored and what was dropped; `picture_tokens` as in `tokenise`. Every method raises
    `UserError` where the folder cannot be written.
    """

    def __init__(self, tokenizer: Encoder, folder: str | Path, *, picture_tokens: int | None = None) -> None:
        self.report = Report()
        self._picture_tokens = picture_tokens
        self._places = array("q")
        self._shown: dict[str, int] = {}  # fingerprints, by number
        self._tokenizer, self._folder = tokenizer, Path(folder)
        self._work = self._folder.parent / f".{self._folder.name}-{os.getpid()}"
        ids = tokenizer.vocab_size + (picture_tokens is not None)  # a soft token's may come after all pieces
        self._dtype = "uint16" if ids <= 1 << 16 else "uint32"
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
            ids, loss, pictures = _turns(document, self._tokenizer, self._picture_tokens)
            self._show(pictures)
            learnt = sum(len(answer.encode("utf-8", "surrogatepass")) for answer in answers)
            self.report.conversations += 1
        self.report.bytes += learnt
        self._targets += loss.count(1)
        self._index.extend((self._index[-2] + len(ids), self._index[-1] + learnt))
        with self._writing():
            self._ids.write(numpy.asarray(ids, dtype=self._dtype).tobytes())
            self._loss.write(loss)

    def _show(self, pictures: list[tuple[int, Shown]]) -> None:
        """Notes the pictures of the document that comes next, each with the place of its first soft token in it."""
        for place, one in pictures:
            if one.sha256 not in self._shown:
                self._name(one)
            self._places.extend((self._index[-2] + place, self._shown[one.sha256]))

    def _name(self, one: Shown) -> None:
        """A picture that was not shown before."""
        self._shown[one.sha256] = len(self._shown)
        with self._writing():
            file = one.source
            if isinstance(file, bytes):
                (self._work / "shown").mkdir(exist_ok=True)
                (self._work / "shown" / one.sha256).write_bytes(file)
                file = Path("shown", one.sha256)
            with (self._work / "shown.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"sha256": one.sha256, "file": str(file)}) + "\n")

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
            pictures=len(self._places) // 2,
            picture_tokens=(self._picture_tokens or 0) if self._places else 0,
        )
        with self._writing():
            self._open.close()
            if not meta.weighted:
                (self._work / "loss.bin").unlink()
            numpy.save(self._work / "index.npy", table)
            if self._places:
                numpy.save(self._work / "pictures.npy", numpy.asarray(self._places).reshape(-1, 2))
            (self._work / "meta.json").write_text(json.dumps(meta.to_json(), indent=1) + "\n", encoding="utf-8")
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


def _turns(
    conversation: Conversation, tokenizer: Encoder, soft: int | None
) -> tuple[list[int], bytes, list[tuple[int, Shown]]]:
    """The ids of a conversation without its begin piece, which of them are learnt, and its pictures by place; it ends
    with the last id that is learnt: nothing that comes after it is seen by what is learnt."""
    if not isinstance(tokenizer, Tokenizer):
        raise ValueError(f"{type(tokenizer).__name__} has no turn marks: conversations need a Tokenizer")
    if conversation.keys and soft is None:
        raise UserError(
            f"{conversation.name} shows a picture, and this run looks at none",
            hint="train a model that sees, with pictures.tower=frozen or tuned, or leave out what shows pictures",
        )
    found = render(conversation.messages, tokenizer, add_generation_prompt=False, soft=soft)
    loss = bytes(found.loss)
    end = loss.rindex(1) + 1
    pictures = [(place - 1, one) for place, one in found.images if place < end]
    return found.ids[1:end], loss[1:end], pictures
