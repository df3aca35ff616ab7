"""One vocabulary, whichever file it came in: text to ids, ids to text.

Ordinary text never yields a special piece. SentencePiece matches "user-defined" pieces in any text, and so does the
`tokenizers` library with its added tokens, which would let a chat message that contains `<end_of_turn>` end a turn.
Both back ends are therefore built with the special pieces withdrawn from matching, so that such text is encoded as if
those pieces did not exist; callers that do mean the mark say so with `special=True`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from gemwright.errors import UserError
from gemwright.text import backends, pieces
from gemwright.text.config_files import token_name, tokenizer_config
from gemwright.text.sentencepiece_file import ModelFile

Form = Literal["json", "model"]
FILES: dict[Form, str] = {"json": "tokenizer.json", "model": "tokenizer.model"}


class Tokenizer:
    """A loaded vocabulary. Build one with `Tokenizer.load`.

    `bos` and `eos` are always there; `pad`, `unk`, `start_of_turn`, `end_of_turn`, `start_of_image`, `end_of_image`
    and `image_soft` are None where the vocabulary has no such piece. `special_ids` are the control marks: decoding
    leaves them out. `source` is the file that was read.
    """

    def __init__(self, loaded: backends.Loaded, source: Path, names: dict[str, str]) -> None:
        self.source = source
        self._pieces = loaded.pieces
        self._ids = dict(zip(loaded.pieces, range(len(loaded.pieces)), strict=True))
        self._encode: Callable[[str], list[int]] = loaded.encode
        self.bos = self._required(names.get("bos_token"), pieces.BOS)
        self.eos = self._required(names.get("eos_token"), pieces.EOS)
        self.pad = self._ids.get(names.get("pad_token", pieces.PAD))
        self.unk = self._ids.get(names.get("unk_token", pieces.UNKNOWN))
        self.start_of_turn = self._ids.get(pieces.START_OF_TURN)
        self.end_of_turn = self._ids.get(pieces.END_OF_TURN)
        self.start_of_image = self._ids.get(pieces.START_OF_IMAGE)
        self.end_of_image = self._ids.get(pieces.END_OF_IMAGE)
        self.image_soft = self._ids.get(pieces.IMAGE_SOFT)
        self.special_ids = frozenset(self._ids[name] for name in loaded.special)
        fixed = sorted((name for name in loaded.unparsed if not pieces.RESERVED.fullmatch(name)), key=len, reverse=True)
        self._marks = re.compile("|".join([*map(re.escape, fixed), pieces.RESERVED.pattern]))
        self._unparsed = loaded.unparsed
        self._bytes: dict[int, bytes] = {}

    @classmethod
    def load(cls, path: str | Path, prefer: Form | None = None) -> Tokenizer:
        """Read the vocabulary at `path`: a checkpoint's folder, a `tokenizer.json` or a `tokenizer.model`.

        A folder may hold either form or both; they give the same ids. `prefer` says which to read when both are
        there ("json" when not given).

        Raises:
            UserError: there is no vocabulary, it is damaged or of another kind, or it has no `<bos>` or `<eos>`.
        """
        path = Path(path)
        source = _find(path, prefer)
        folder = source.parent
        config = tokenizer_config(folder)
        names = {key: name for key in config if key.endswith("_token") and (name := token_name(config[key]))}
        special = {names[key] for key in ("bos_token", "eos_token", "pad_token", "unk_token") if key in names}
        try:
            if source.suffix == ".model":
                loaded = backends.load_model(source, special, config)
            else:
                loaded = backends.load_json(source, special)
        except OSError as error:
            raise UserError(f"{source}: cannot be read: {error}", hint="check the file's permissions") from error
        return cls(loaded, source, names)

    @classmethod
    def of_model(cls, model: ModelFile, source: Path, names: dict[str, str]) -> Tokenizer:
        """A vocabulary from what a `tokenizer.model` says; `source` is the file that it came from.

        `names` says what the pieces "bos_token", "eos_token", "pad_token" and "unk_token" are called.

        Raises:
            UserError: SentencePiece refuses it, it is of another kind, or the vocabulary has no such pieces.
        """
        return cls(backends.take_model(model, source, set(names.values())), source, names)

    def _required(self, name: str | None, default: str) -> int:
        token = self._ids.get(name or default)
        if token is None:
            raise UserError(
                f"{self.source}: the vocabulary has no {name or default} piece",
                hint="use the tokenizer files of a Gemma checkpoint, or train one with `gemwright tokenizer train`",
            )
        return token

    @property
    def vocab_size(self) -> int:
        """Number of ids, 0 to `vocab_size - 1`. A checkpoint's embedding table may have more rows (padding)."""
        return len(self._pieces)

    @property
    def supports_turns(self) -> bool:
        """Whether conversations can be rendered: both turn marks are in the vocabulary."""
        return self.start_of_turn is not None and self.end_of_turn is not None

    def encode(self, text: str, bos: bool = False, special: bool = False) -> list[int]:
        """Ids of `text`, after one `<bos>` if `bos`.

        By default the names of special pieces in the text are plain characters: the ids of `special_ids` never come
        out. With `special=True` each literal name becomes its id and what lies between is encoded on its own. Lone
        surrogates, which UTF-8 cannot hold, are read as U+FFFD.
        """
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        ids = [self.bos] if bos else []
        if not special:
            return ids + self._encode(text)
        for part in self.split_special(text):
            ids.extend([part] if isinstance(part, int) else self._encode(part))
        return ids

    def split_special(self, text: str) -> list[int | str]:
        """`text` cut at literal names of special pieces: their ids, and the non-empty plain parts between."""
        parts: list[int | str] = []
        done = 0
        for match in self._marks.finditer(text):
            if match.group() not in self._unparsed:
                continue  # a reserved name that this vocabulary lacks is plain text
            if match.start() > done:
                parts.append(text[done : match.start()])
            parts.append(self._ids[match.group()])
            done = match.end()
        if done < len(text):
            parts.append(text[done:])
        return parts

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Text of `ids`: their bytes joined and read as UTF-8, each part that is no character shown as U+FFFD.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        hidden = self.special_ids if skip_special else frozenset[int]()
        data = b"".join([self.bytes_of(token) for token in ids if token not in hidden])
        return data.decode("utf-8", "replace")

    def piece(self, token: int) -> str:
        """The piece as the vocabulary writes it (U+2581 for a space, `<0x0A>` for a byte).

        Raises:
            ValueError: the id is outside the vocabulary.
        """
        if not 0 <= token < len(self._pieces):
            raise ValueError(f"id {token} is outside the vocabulary of {len(self._pieces)} pieces")
        return self._pieces[token]

    def bytes_of(self, token: int) -> bytes:
        """The bytes that the id stands for: one for a byte piece, UTF-8 with real spaces for the rest.

        Raises:
            ValueError: the id is outside the vocabulary.
        """
        found = self._bytes.get(token)
        if found is None:
            found = self._bytes[token] = _bytes(self.piece(token))
        return found

    def id_of(self, piece: str) -> int | None:
        """The id of a piece, or None."""
        return self._ids.get(piece)

    def fingerprint(self) -> str:
        """SHA-256 (hex) over the pieces in id order: equal for both forms of one vocabulary.

        An `<image_soft_token>` that comes last is left out: so published ones stand outside the SentencePiece file.
        """
        digest, last = hashlib.sha256(), len(self._pieces) - 1
        for token, piece in enumerate(self._pieces):
            if piece != pieces.IMAGE_SOFT or token != last:
                data = piece.encode("utf-8")
                digest.update(len(data).to_bytes(4, "little") + data)
        return digest.hexdigest()


def _bytes(piece: str) -> bytes:
    if match := pieces.BYTE.fullmatch(piece):
        return bytes([int(match.group(1), 16)])
    return piece.replace(pieces.SPACE_MARK, " ").encode("utf-8")


def _find(path: Path, prefer: Form | None) -> Path:
    """The file to read for `path`."""
    if path.is_file():
        if path.suffix not in (".json", ".model"):
            raise UserError(f"{path}: neither a .json nor a .model file", hint="name a tokenizer file or its folder")
        return path
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder", hint="name a checkpoint's folder or a tokenizer file")
    order: tuple[Form, ...] = ("model", "json") if prefer == "model" else ("json", "model")
    for form in order:
        if (path / FILES[form]).is_file():
            return path / FILES[form]
    raise UserError(
        f"{path}: holds no tokenizer (neither tokenizer.json nor tokenizer.model)",
        hint="copy the tokenizer files of the checkpoint into the folder",
    )
