"""What a person shows becomes pictures as requests hold them: decoded, cut, and no larger than the model sees them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from gemwright.engine.request import PromptImage
from gemwright.image.decode import decode
from gemwright.image.limits import LIMITS, Limits
from gemwright.image.pan_scan import PanScan
from gemwright.image.pan_scan import views as views_of
from gemwright.image.picture import Picture, picture
from gemwright.image.resize import square


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture that is shown to a model, for `Message.images`.

    `views` are the squares that the vision tower takes: the whole picture and, by pan and scan, its crops. `width`,
    `height`, `sha256`, `name` and `notes` are those of the picture as it came (see `image.picture`), `path` the file
    that it came from (None: from memory). Two are equal if their views are.
    """

    views: tuple[Picture, ...]
    name: str = field(compare=False)
    width: int = field(compare=False)
    height: int = field(compare=False)
    sha256: str = field(compare=False)
    notes: tuple[str, ...] = field(compare=False)
    path: Path | None = field(compare=False)
    pan_scan: bool = field(compare=False)


Source: TypeAlias = "str | Path | bytes | Image.Image | np.ndarray | Picture | Shown"


def show(source: Source, side: int, *, rule: PanScan | None = None, limits: Limits = LIMITS, name: str = "") -> Shown:
    """The picture in a file (a path), in the bytes of a file, in a Pillow image or in a uint8 array `[H, W, 3]`, for a
    tower that sees `side × side` pixels.

    A wide or tall one is cut by `rule` (None: none is). What was shown before stays as it is. Raises `UserError` for a
    file that is no picture or beyond the limits, `ValueError` for another kind of thing.
    """
    if isinstance(source, Shown):
        return source
    path = None
    if isinstance(source, Picture):
        whole = source
    elif isinstance(source, np.ndarray):
        whole = picture(source.copy(), name or "the picture")  # whoever gave it may write on it
    elif isinstance(source, str | Path | bytes | Image.Image):
        whole = decode(source, limits, name=name)
        if isinstance(source, str | Path):
            path = Path(os.path.abspath(Path(source).expanduser()))
    else:
        raise ValueError(f"a picture is a path, bytes, a Pillow image or an array, not {type(source).__name__}")
    return Shown(
        views=tuple(square(view, side) for view in views_of(whole, rule)),
        name=whole.name,
        width=whole.width,
        height=whole.height,
        sha256=whole.sha256,
        notes=whole.notes,
        path=path,
        pan_scan=rule is not None,
    )


def placed(images: Iterable[tuple[int, Any]], soft: int, begin: int = 0) -> tuple[PromptImage, ...]:
    """A rendered conversation's pictures (`Rendered.images`) as a request takes them, of `soft` tokens each; `begin` is
    added to their places."""
    return tuple(PromptImage(first=begin + first, count=soft, picture=picture) for first, picture in images)


def refuse_misplaced(images: Sequence[PromptImage], length: int) -> None:
    """Raises `ValueError` unless the pictures lie apart, in order, within a prompt of that many ids."""
    end = 0
    for image in images:
        if image.count < 1 or image.first < end or image.end > length:
            raise ValueError(f"{image.count} ids of a picture from {image.first} on do not lie apart within {length}")
        end = image.end
