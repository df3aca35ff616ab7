"""A SentencePiece model as a folder that every reader of Gemma vocabularies takes.

`tokenizer.json` describes the same pieces for the `tokenizers` library: a BPE model with byte fallback whose merges
are ranked by the pieces' scores, spaces replaced by U+2581 first. White space runs are added tokens matched after
that replacement, which is how SentencePiece matches them, and they have merges too, for readers that keep the
vocabulary and the merges only.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gemwright.text import pieces, sentencepiece_file
from gemwright.text.sentencepiece_file import ModelFile, Piece
from gemwright.text.template import BUILT_IN

FILES = ("tokenizer.model", "tokenizer.json", "special_tokens_map.json", "tokenizer_config.json")
"""What a written folder holds."""


def write_folder(
    model: bytes, folder: Path, specials: tuple[str, ...], template: str | None = BUILT_IN, eos: str = pieces.EOS
) -> None:
    """Write `FILES`: each appears whole, and none before all of them are on the disk. Files of these names are
    replaced, others are left alone.

    `model` is the bytes of a tokenizer.model whose first five pieces are the core ones; `specials` names the control
    marks that follow them; `template` is the chat template (None: there is none); `eos` ends a text.
    """
    trees = _trees(model, specials, template, eos)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tokenizer-", dir=folder) as work:
        for name in FILES:
            (Path(work) / name).write_bytes(trees[name])
        for name in FILES:
            os.replace(Path(work) / name, folder / name)


def _trees(model: bytes, specials: tuple[str, ...], template: str | None, eos: str) -> dict[str, bytes]:
    """The files' contents by name."""
    named: dict[str, str] = dict(
        zip(("pad_token", "eos_token", "bos_token", "unk_token", "mask_token"), pieces.CORE, strict=True)
    )
    named["eos_token"] = eos
    config = {
        **named,
        "additional_special_tokens": list(specials),
        **_image_tokens(specials),
        "add_bos_token": True,
        "add_eos_token": False,
        **({} if template is None else {"chat_template": template}),
        "clean_up_tokenization_spaces": False,
        "model_max_length": 10**30,
        "spaces_between_special_tokens": False,
        "tokenizer_class": "GemmaTokenizer",
    }
    return {
        "tokenizer.model": model,
        "tokenizer.json": _json(tokenizer_json(sentencepiece_file.parse(model), specials), indent=None),
        "special_tokens_map.json": _json({**named, "additional_special_tokens": list(specials)}, indent=2),
        "tokenizer_config.json": _json(config, indent=2),
    }


def _image_tokens(specials: tuple[str, ...]) -> dict[str, Any]:
    """What transformers' processor of pictures asks a tokenizer for; nothing for a vocabulary without such marks."""
    names = {"boi_token": pieces.START_OF_IMAGE, "eoi_token": pieces.END_OF_IMAGE, "image_token": pieces.IMAGE_SOFT}
    if not set(names.values()) <= set(specials):
        return {}
    return {**names, "extra_special_tokens": names}


def _json(tree: dict[str, Any], indent: int | None) -> bytes:
    return (json.dumps(tree, ensure_ascii=False, indent=indent) + "\n").encode("utf-8")


def merges(vocabulary: Sequence[Piece]) -> list[tuple[str, str]]:
    """Every way to build a piece from two others, best score first: the order in which BPE applies them.

    SentencePiece scores a pair by the piece that it makes, whatever the two parts are, so all ways to build one piece
    stand together. Marks, bytes and control pieces are never built.
    """
    built = {piece.text: piece.score for piece in vocabulary if _is_text(piece)}
    ways: list[tuple[float, int, str, str]] = []
    for text, score in built.items():
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in built and right in built:
                ways.append((score, len(left), left, right))
    ways.sort(key=lambda way: (way[0], way[1]), reverse=True)
    return [(left, right) for _, _, left, right in ways]


def _is_run(text: str) -> bool:
    return len(set(text)) == 1 and text[0] in f"\n\t{pieces.SPACE_MARK}"


def _is_text(piece: Piece) -> bool:
    if piece.kind == sentencepiece_file.USER_DEFINED:
        return _is_run(piece.text)
    return piece.kind == sentencepiece_file.NORMAL


def _added(token: int, text: str, special: bool) -> dict[str, Any]:
    return {
        "id": token,
        "content": text,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": not special,
        "special": special,
    }


def tokenizer_json(model: ModelFile, specials: tuple[str, ...]) -> dict[str, Any]:
    """The tree of a tokenizer.json that gives the same ids as the SentencePiece model."""
    special = {*pieces.CORE, *specials}
    added = [
        _added(token, piece.text, piece.text in special)
        for token, piece in enumerate(model.pieces)
        if piece.text in special or piece.kind == sentencepiece_file.USER_DEFINED
    ]
    space = {"String": " "}
    bos = {"SpecialToken": {"id": pieces.BOS, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": at}} for at, name in enumerate("AB"))
    bos_id = next(token for token, piece in enumerate(model.pieces) if piece.text == pieces.BOS)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": space, "content": pieces.SPACE_MARK},
        "pre_tokenizer": {"type": "Split", "pattern": space, "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, first],
            "pair": [bos, first, {"SpecialToken": {"id": pieces.BOS, "type_id": 1}}, second],
            "special_tokens": {pieces.BOS: {"id": pieces.BOS, "ids": [bos_id], "tokens": [pieces.BOS]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": pieces.SPACE_MARK}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": pieces.UNKNOWN,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece.text: token for token, piece in enumerate(model.pieces)},
            "merges": [list(pair) for pair in merges(model.pieces)],
        },
    }
