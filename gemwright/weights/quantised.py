"""Quantised folders: a Hugging Face folder whose matrices are packed.

model.safetensors holds each packed matrix under its usual name as uint8 rows, in the bytes of its form
(`ops.matmul.encode`; int4 keeps two codes in a byte, the first in the low half). Where a form has one scale for each
row, `NAME.scales` float32 `[rows]` stands beside it. config.json names the forms under "quantization_config"; all
other tensors are plain.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32, Int8, UInt8
from torch import Tensor

from gemwright.errors import UserError
from gemwright.ops.blocks import Q4_0, Q8_0
from gemwright.ops.matmul import Form, decode
from gemwright.weights.fields import shorten
from gemwright.weights.folder import Folder

KEY, METHOD = "quantization_config", "gemwright"
SCALES = ".scales"
# How many values stand in how many bytes of a row, and which forms have a scale for each row.
_PACKED: dict[str, tuple[int, int]] = {
    "q8_0": (Q8_0.block, Q8_0.bytes),
    "q4_0": (Q4_0.block, Q4_0.bytes),
    "int8": (1, 1),
    "int4": (2, 1),
    "sfp8": (1, 1),
}
_SCALED = ("int8", "int4", "sfp8")


def stored_bytes(form: Form, columns: int) -> int:
    """Bytes of a row of `columns` values in the file, its scale not counted."""
    values, size = _PACKED[form]
    return columns // values * size


def is_scaled(form: Form) -> bool:
    """Whether `NAME.scales` stands beside a tensor of this form."""
    return form in _SCALED


def config_of(scheme: str, forms: Mapping[str, Form]) -> dict[str, Any]:
    """What config.json says of forms by the file's names."""
    return {KEY: {"quant_method": METHOD, "scheme": scheme, "forms": dict(forms)}}


def read_forms(config: Mapping[str, Any], where: str) -> dict[str, Form]:
    """The forms of the tensors that a config tree calls packed, by the file's names; nothing for a plain folder.

    Raises `UserError` naming `where` for other programs' quantisations, and for what is damaged.
    """
    stated = config.get(KEY)
    if not stated:
        return {}
    method = stated.get("quant_method") if isinstance(stated, Mapping) else stated
    if method != METHOD:
        raise UserError(
            f"{where}: {KEY} names the method {shorten(method)}: weights quantised by another program",
            hint="give the float version, or a GGUF file",
        )
    forms = stated.get("forms")
    if not isinstance(forms, dict) or not forms:
        raise UserError(f"{where}: {KEY} lists no forms of tensors", hint="the file is damaged; fetch it again")
    for name, form in forms.items():
        if not isinstance(form, str) or form not in _PACKED:
            raise UserError(
                f"{where}: {KEY} gives {shorten(name)} the form {shorten(form)}; known: {', '.join(_PACKED)}",
                hint="the file is damaged, or of a newer gemwright",
            )
    return forms


def pack_nibbles(codes: Int8[Tensor, "n I"]) -> UInt8[Tensor, "n J"]:
    """Codes from -8 to 7, two in a byte, the first in the low half."""
    low, high = (codes.view(torch.uint8) & 15).unflatten(1, (-1, 2)).unbind(2)
    return low | (high << 4)


def unpack_nibbles(data: UInt8[Tensor, "n J"]) -> Int8[Tensor, "n I"]:
    """What `pack_nibbles` took together."""
    halves = torch.stack([data & 15, data >> 4], dim=2).flatten(1)
    return ((halves ^ 8).view(torch.int8) - 8).contiguous()


class QuantisedFolder:
    """A quantised folder as a source of weights; see `weights.stream.PackedSource`."""

    def __init__(self, path: Path, forms: Mapping[str, Form]) -> None:
        """`forms`: see `read_forms`. Raises `UserError` for tensors that are not what the forms say."""
        self.path = path
        self._folder, self._forms = Folder(path), dict(forms)
        present = set(self._folder.names())
        for name, form in forms.items():
            self._check(name, form, present)
        self._scales = {name + SCALES for name, form in forms.items() if form in _SCALED}

    def _check(self, name: str, form: Form, present: set[str]) -> None:
        shown = shorten(name)
        if name not in present:
            raise self._broken(f"{shown}, which {KEY} lists, is not there")
        shape = self._folder.shape(name)
        if self._folder.dtype(name) != torch.uint8 or len(shape) != 2 or shape[1] % _PACKED[form][1]:
            raise self._broken(f"{shown} does not hold rows of {form}")
        if form in _SCALED:
            scales = name + SCALES
            if (
                scales not in present
                or self._folder.shape(scales) != shape[:1]
                or self._folder.dtype(scales) != torch.float32
            ):
                raise self._broken(f"{shown} lacks its {shape[0]} scales")

    def _broken(self, reason: str) -> UserError:
        return UserError(f"{self.path}: {reason}", hint="its config.json and its weights do not belong together")

    def names(self) -> list[str]:
        """Every tensor's name; scales belong to theirs."""
        return [name for name in self._folder.names() if name not in self._scales]

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, in values."""
        shape, form = self._folder.shape(name), self._forms.get(name)
        if form is None:
            return shape
        values, size = _PACKED[form]
        return (shape[0], shape[1] // size * values)

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of what `view` gives: the file's, and float32 for packed rows."""
        return torch.float32 if name in self._forms else self._folder.dtype(name)

    def kind(self, name: str) -> str:
        """A packed tensor's form, or the file's word for a plain one's dtype ("BF16")."""
        return self._forms.get(name) or self._folder.entry(name).code

    def bytes(self, name: str) -> int:
        """Bytes of a tensor in the file, scales included."""
        scales = self._folder.entry(name + SCALES).bytes if name + SCALES in self._scales else 0
        return self._folder.entry(name).bytes + scales

    def raw(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows [start, stop) as `Matrix.write_bytes` takes them, uint8."""
        rows = self._folder.view(name, start, stop)
        if self._forms.get(name) == "int4":
            return unpack_nibbles(rows).view(torch.uint8)
        return rows.view(torch.uint8)

    def scales(self, name: str, start: int = 0, stop: int | None = None) -> Float32[Tensor, " n"] | None:
        """The scales of these rows; None for forms that carry theirs in the rows."""
        return self._folder.view(name + SCALES, start, stop) if name + SCALES in self._scales else None

    def view(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows [start, stop) as values."""
        form = self._forms.get(name)
        if form is None:
            return self._folder.view(name, start, stop)
        return decode(self.raw(name, start, stop), self.scales(name, start, stop), form)

    def release(self, name: str, start: int = 0, stop: int | None = None) -> None:
        """Let go of the memory behind rows that have been read."""
        self._folder.release(name, start, stop)
