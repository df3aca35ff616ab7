"""The vision half of a model as a GGUF file of its own, beside the text model's ("mmproj"), in and out.

Keys, names and conventions are those of llama.cpp's converter of Gemma 3 (`Gemma3VisionModel` in its convert scripts)
and of the reader, `tools/mtmd/clip.cpp`: one-dimensional tensors, patches and positions are float32; the projector's
RMSNorm has 1 added to its weights, as every Gemma norm in the format, and SigLIP's LayerNorms have not; the projection
keeps Hugging Face's orientation and is never bfloat16, which the reader could not turn round.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemwright.arch.spec import Tower, Vision
from gemwright.errors import UserError
from gemwright.ops.blocks import BF16, F16, F32, Format
from gemwright.weights.fields import Fields, shorten
from gemwright.weights.gguf.emit import FILE_TYPES, Item, format_of, target, write_file
from gemwright.weights.gguf.header import FLOAT32
from gemwright.weights.gguf.names import CLIP, eyes_names
from gemwright.weights.gguf.source import GgufSource, projectors
from gemwright.weights.hf_config import MAX_DEPTH
from gemwright.weights.vision import Eyes

TYPES = ("f32", "f16", "bf16")
_KIND = "gemma3"  # llama.cpp's word for this projector
_POOLED = 4  # patches along the side of the square that becomes a token, where the file says nothing
_MAX_SIZE = 1 << 24
_WHOLE = (F32, F16, BF16)


def is_projector(source: GgufSource) -> bool:
    """Whether a file holds a vision half and no text model."""
    return source.metadata.get("general.architecture") == CLIP


def open_projector(path: Path) -> Eyes:
    """The vision half in a file. Raises `UserError` for another kind of file, another model's projector, and for
    settings that Gemma 3's pictures do not have."""
    source = GgufSource(path)
    if not is_projector(source):
        raise UserError(f"{path} holds no vision half: its architecture is not {CLIP}", hint="give the mmproj file")
    own = {key: value for key, value in source.metadata.items() if key.startswith("clip.")}
    fields = Fields({key.removeprefix("clip."): value for key, value in own.items()}, str(path), "clip.")
    _check_kind(fields)
    _check_pixels(fields, source)
    vision = _vision(fields)
    return Eyes(
        vision=vision,
        width=fields.integer("vision.projection_dim", high=_MAX_SIZE),
        source=source,
        names=eyes_names(_is_crossed(source, vision.tower)),
    )


def _check_kind(fields: Fields) -> None:
    key = "projector_type" if fields.has("projector_type") else "vision.projector_type"
    fields.choice(key, None, (_KIND,), "the projector of another model")
    for key in ("has_vision_encoder", "use_gelu"):
        if not fields.flag(key, False):
            raise fields.refuse(key, "and Gemma 3's vision half has it", hint="is it the file of another model?")
    if fields.flag("use_silu", False):
        raise fields.refuse("use_silu", "an activation that Gemma's SigLIP does not have")


def _check_pixels(fields: Fields, source: GgufSource) -> None:
    """Pixels enter Gemma's tower as (v - 0.5) / 0.5."""
    for key in ("vision.image_mean", "vision.image_std"):
        if not fields.has(key):
            continue
        stated = source.header.numbers("clip." + key, (FLOAT32,))
        if stated != [0.5, 0.5, 0.5]:
            raise UserError(
                f"{source.path}: clip.{key} is {shorten(stated)}, and Gemma 3's pictures have 0.5 for each colour",
                hint="is it the file of another model?",
            )


def _vision(fields: Fields) -> Vision:
    def size(key: str, high: int = _MAX_SIZE) -> int:
        return fields.integer("vision." + key, high=high)

    tower = Tower(
        image=size("image_size"),
        patch=size("patch_size"),
        width=size("embedding_length"),
        hidden=size("feed_forward_length"),
        heads=size("attention.head_count"),
        depth=size("block_count", MAX_DEPTH),
        norm_epsilon=fields.number("vision.attention.layer_norm_epsilon", 1e-6, high=1.0),
    )
    pooled = fields.integer("vision.projector.scale_factor", _POOLED, high=_MAX_SIZE)
    if tower.grid < 1 or tower.grid % pooled:
        raise UserError(
            f"{fields.where} describes no tower: {tower.grid} × {tower.grid} patches cannot be pooled by {pooled}",
            hint="the file is damaged",
        )
    if tower.width % tower.heads:
        raise fields.refuse("vision.attention.head_count", f"no divisor of the tower's width {tower.width}")
    return Vision(tower=tower, tokens=(tower.grid // pooled) ** 2)


def _is_crossed(source: GgufSource, tower: Tower) -> bool:
    """Whether `ffn_up` and `ffn_down` have each other's place: llama.cpp's rule."""
    down = "v.blk.0.ffn_down.weight"
    return down in source.names() and source.shape(down)[-1] == tower.width


def projector_beside(path: Path, width: int) -> Eyes:
    """The vision half that lies beside a text model of this width (a GGUF file, or the folder of one).

    Raises `UserError` when none fits, and when several do.
    """
    fitting, refused, others = [], [], []
    for file in projectors(path):
        try:
            eyes = open_projector(file)
        except UserError as error:
            refused.append(error)
            continue
        (fitting if eyes.width == width else others).append(eyes)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        listed = ", ".join(eyes.source.path.name for eyes in fitting)
        raise UserError(f"several vision halves lie beside {path}: {listed}", hint="give the file that you mean")
    if refused and not others:
        raise refused[0]
    looked = ", ".join(f"{eyes.source.path.name} leads to {eyes.width}" for eyes in others)
    raise UserError(
        f"{path} is a text model of width {width}, and no vision half for it lies beside it"
        + (f" ({looked})" if looked else ""),
        hint="put its mmproj file into the same folder",
    )


def projector_name(path: Path) -> Path:
    """The file in which the vision half of the text model at `path` is written."""
    return path.with_name(f"mmproj-{path.name}")


def write_projector(path: Path, eyes: Eyes, *, name: str, type: str = "bf16", overwrite: bool = False) -> None:
    """Write a vision half as a GGUF file, whole or not at all.

    `name`: what the model is called; `type`: one of `TYPES`, for the matrices of the tower's blocks. Raises `UserError`
    for a tensor that is missing, numbers that do not fit, a full disk, and a file that is there (unless `overwrite`).
    """
    path = target(path, overwrite)
    if type not in TYPES:
        raise UserError(f"a vision half is not written as {type!r}", hint=f"use one of {', '.join(TYPES)}")
    form, tower = format_of(type), eyes.vision.tower
    tree: dict[str, Any] = {
        "general.architecture": CLIP,
        "general.type": "mmproj",
        "general.name": name,
        "general.file_type": FILE_TYPES[form],
        "general.quantization_version": 2,
        "clip.has_vision_encoder": True,
        "clip.projector_type": _KIND,
        "clip.use_gelu": True,
        "clip.vision.projection_dim": eyes.width,
        "clip.vision.image_size": tower.image,
        "clip.vision.patch_size": tower.patch,
        "clip.vision.embedding_length": tower.width,
        "clip.vision.feed_forward_length": tower.hidden,
        "clip.vision.block_count": tower.depth,
        "clip.vision.attention.head_count": tower.heads,
        "clip.vision.attention.layer_norm_epsilon": tower.norm_epsilon,
        "clip.vision.image_mean": (0.5, 0.5, 0.5),
        "clip.vision.image_std": (0.5, 0.5, 0.5),
    }
    if (pooled := tower.grid // eyes.vision.side) != _POOLED:
        tree["clip.vision.projector.scale_factor"] = pooled
    write_file(path, tree, list(_items(eyes, form)), eyes.source)


def _items(eyes: Eyes, form: Format) -> Iterator[Item]:
    tower, held = eyes.vision.tower, set(eyes.source.names())
    theirs = eyes_names(crossed=tower.hidden == tower.width)  # what the reader takes every square MLP for
    for ours, parameter in eyes.empty().named_parameters():
        shape, source = tuple(parameter.shape), eyes.names.theirs(ours)
        if source not in held or eyes.source.shape(source) != shape:
            raise UserError(
                f"{eyes.source.path}: {shorten(source)} is missing or not {list(shape)}",
                hint="do the config and the weights belong together?",
            )
        exact = len(shape) == 1 or ours in ("encoder.patches.weight", "encoder.positions")
        if ours == "projector.weight" and form == BF16:
            exact = True
        yield Item(name=theirs.theirs(ours), source=source, form=F32 if exact else form, shape=shape)
