"""preprocessor_config.json and processor_config.json: how a checkpoint's makers turn pictures into pixels.

Gemwright makes pixels in one way, that of the published models: RGB, stretched to the tower's square by bilinear
interpolation, scaled to [-1, 1]. Settings that say so are accepted, pan and scan's are honoured, and a setting that
would give other pixels is refused: it is never passed over. The defaults are those of transformers' Gemma 3 classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gemwright.arch.spec import Vision
from gemwright.errors import UserError
from gemwright.image.pan_scan import PAN_SCAN, PanScan
from gemwright.weights.fields import Fields, read_json, shorten

PIXELS, PROCESSOR = "preprocessor_config.json", "processor_config.json"
_SIDE = 224  # of transformers' class; published files state 896
_BILINEAR = 2  # PIL's number

# key → the value that pictures are always made with; absence and null mean it too
_FIXED: dict[str, Any] = {
    "do_convert_rgb": True,
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_center_crop": False,
    "do_pad": False,
    "resample": _BILINEAR,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
_PAN_SCAN = (
    "do_pan_and_scan",
    "pan_and_scan_min_crop_size",
    "pan_and_scan_max_num_crops",
    "pan_and_scan_min_ratio_to_activate",
)
# What says nothing about pixels: the classes' names, and how transformers hands them on.
_HARMLESS = frozenset(
    """
    _processor_class auto_map crop_size data_format default_to_square device disable_grouping feature_extractor_type
    image_processor_type input_data_format pad_size processor_class return_tensors tokenizer_class _valid_processor_keys
    """.split()  # noqa: SIM905  # a word list reads better than fifteen quoted lines
)


@dataclass(frozen=True, kw_only=True)
class Processor:
    """What a folder says of pictures; None where it says nothing.

    `side`: of the square in pixels. `tokens`: soft tokens of a picture. `pan_scan`: the rule by which pictures are cut,
    where the makers want that by default; `rule` is the one to use when a person asks for it. `notes`: for people.
    """

    side: int | None
    tokens: int | None
    pan_scan: PanScan | None
    rule: PanScan
    notes: tuple[str, ...]


def read_processor(folder: Path) -> Processor:
    """The settings of a folder, checked. Raises `UserError` naming the file, the key and the value of a setting that
    gives other pixels than those that Gemwright makes."""
    found = Processor(side=None, tokens=None, pan_scan=None, rule=PAN_SCAN, notes=())
    for name in (PIXELS, PROCESSOR):
        path = folder / name
        if not path.is_file():
            continue
        tree = read_json(path)
        if name == PIXELS:
            found = _pixels(Fields(tree, str(path)), found)
            continue
        fields = Fields(tree, str(path))
        if fields.has("image_processor"):  # transformers 5 keeps the settings of pictures in here
            found = _pixels(fields.section("image_processor"), found)
        if fields.has("image_seq_length"):
            found = replace(found, tokens=fields.integer("image_seq_length"))
    return found


def _pixels(fields: Fields, found: Processor) -> Processor:
    for key, value in _FIXED.items():
        stated = fields.raw(key, None)
        same = isinstance(stated, list) and stated == value if isinstance(value, list) else stated == value
        if stated is not None and not same:
            raise fields.refuse(key, f"and pictures are made with {shorten(value)}", hint="this needs another program")
    if fields.has("rescale_factor") and abs(fields.number("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
        raise fields.refuse("rescale_factor", "and pictures are made with 1/255", hint="this needs another program")
    notes = [*found.notes]
    known = {*fields.used, *_HARMLESS, "size", "image_seq_length", *_PAN_SCAN}
    if unknown := sorted(key for key, value in fields.tree.items() if value is not None and key not in known):
        notes.append(f"{fields.where}: keys that mean nothing here, carried along: {', '.join(map(shorten, unknown))}")
    rule = _rule(fields)
    return Processor(
        side=_side(fields),
        tokens=fields.integer("image_seq_length") if fields.has("image_seq_length") else found.tokens,
        pan_scan=rule if fields.flag("do_pan_and_scan", False) else None,
        rule=rule,
        notes=tuple(notes),
    )


def _rule(fields: Fields) -> PanScan:
    crop, count, ratio = _PAN_SCAN[1:]
    try:
        return PanScan(
            min_crop=fields.integer(crop) if fields.has(crop) else PAN_SCAN.min_crop,
            max_crops=fields.integer(count) if fields.has(count) else PAN_SCAN.max_crops,
            min_ratio=fields.number(ratio) if fields.has(ratio) else PAN_SCAN.min_ratio,
            overrun=PAN_SCAN.overrun,
        )
    except ValueError as error:
        raise UserError(f"{fields.where}: pan and scan's {error}", hint="correct the value") from error


def _side(fields: Fields) -> int:
    if not fields.has("size"):
        return _SIDE
    size = fields.section("size")
    height, width = size.integer("height"), size.integer("width")
    if height != width:
        raise fields.refuse("size", "and the tower sees squares", hint="this needs another program")
    return height


def check(found: Processor, vision: Vision, folder: Path) -> None:
    """Raise `UserError` where the settings of a folder contradict its config."""
    for name, stated, wanted in (
        ("size", found.side, vision.tower.image),
        ("image_seq_length", found.tokens, vision.tokens),
    ):
        if stated is not None and stated != wanted:
            raise UserError(
                f"{folder}: the image processor's {name} is {stated}, and config.json asks for {wanted}",
                hint="the files are of different models; fetch the folder again",
            )


def documents(vision: Vision) -> dict[str, Mapping[str, Any]]:
    """The two files, by name, for a model that comes from another format: what published folders say."""
    return {
        PIXELS: {
            "do_convert_rgb": None,
            "do_normalize": True,
            "do_pan_and_scan": None,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_processor_type": "Gemma3ImageProcessor",
            "image_seq_length": vision.tokens,
            "image_std": [0.5, 0.5, 0.5],
            "pan_and_scan_max_num_crops": None,
            "pan_and_scan_min_crop_size": None,
            "pan_and_scan_min_ratio_to_activate": None,
            "processor_class": "Gemma3Processor",
            "resample": _BILINEAR,
            "rescale_factor": 1 / 255,
            "size": {"height": vision.tower.image, "width": vision.tower.image},
        },
        PROCESSOR: {"image_seq_length": vision.tokens, "processor_class": "Gemma3Processor"},
    }
