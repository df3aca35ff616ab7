"""Whatever a picture comes in, the model is shown the same squares."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sight import noise

from gemwright.engine.pictures import Shown, placed, refuse_misplaced, show
from gemwright.engine.request import PromptImage
from gemwright.errors import UserError
from gemwright.image.pan_scan import PAN_SCAN, views
from gemwright.image.picture import picture
from gemwright.image.resize import pixels

SIDE = 56
PICTURE = picture(noise(0), "noise")


def file_of(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "pillow", "array", "picture", "shown"])
def test_every_kind_of_source_gives_the_same_view(tmp_path: Path, kind: str) -> None:
    array = noise(3)
    (tmp_path / "noise.png").write_bytes(file_of(array))
    sources: dict[str, Any] = {
        "path": tmp_path / "noise.png",
        "text": str(tmp_path / "noise.png"),
        "bytes": file_of(array),
        "pillow": Image.fromarray(array),
        "array": array,
        "picture": picture(array, "noise"),
        "shown": show(array, SIDE),
    }
    shown, plain = show(sources[kind], SIDE), picture(array, "")
    assert shown == show(array, SIDE)
    assert (shown.width, shown.height, shown.sha256) == (plain.width, plain.height, plain.sha256)
    assert np.array_equal(pixels(shown.views[0], SIDE), pixels(plain, SIDE))
    assert shown.path == (tmp_path / "noise.png" if kind in ("path", "text") else None)


def test_pan_and_scan_gives_the_squares_of_its_crops() -> None:
    array = noise(1, width=900, height=300)
    shown = show(array, SIDE, rule=PAN_SCAN)
    expected = views(picture(array, "noise"), PAN_SCAN)
    assert len(shown.views) == len(expected) == 4
    for square, view in zip(shown.views, expected, strict=True):
        assert np.array_equal(pixels(square, SIDE), pixels(view, SIDE))
    assert len(show(array, SIDE).views) == 1 and len(show(noise(1), SIDE, rule=PAN_SCAN).views) == 1


def test_what_is_kept_is_no_larger_than_what_the_model_sees() -> None:
    shown = show(noise(1, width=1200, height=900), SIDE)
    assert [view.pixels.nbytes for view in shown.views] == [SIDE * SIDE * 3]


def test_a_changed_array_does_not_change_what_was_shown() -> None:
    """Also where it has the model's own size, and needs no stretching."""
    for array in (noise(2), noise(2, SIDE, SIDE)):
        shown = show(array, SIDE)
        before = shown.views[0].pixels.copy()
        array[:] = 0
        assert np.array_equal(shown.views[0].pixels, before)


@pytest.mark.parametrize("source", [5, None, [1, 2], noise(0).astype(np.float32), noise(0)[:, :, :2]])
def test_another_kind_of_thing_is_misuse(source: Any) -> None:
    with pytest.raises(ValueError):
        show(source, SIDE)


def test_a_file_that_is_no_picture_is_a_persons_mistake(tmp_path: Path) -> None:
    for source in (tmp_path / "gone.png", b"no picture", "https://example.org/cat.png"):
        with pytest.raises(UserError):
            show(source, SIDE)


def test_places_are_those_of_the_rendering_moved() -> None:
    found = placed([(3, PICTURE), (20, PICTURE)], 4, begin=10)
    assert [(one.first, one.end) for one in found] == [(13, 17), (30, 34)]


@pytest.mark.parametrize("places", [[(0, 5), (4, 2)], [(3, 4), (0, 2)], [(7, 4)], [(2, 0)], [(-1, 2)]])
def test_pictures_that_overlap_or_leave_the_prompt_are_misuse(places: list[tuple[int, int]]) -> None:
    images = [PromptImage(first=first, count=count, picture=PICTURE) for first, count in places]
    with pytest.raises(ValueError, match="lie apart"):
        refuse_misplaced(images, 10)


def test_equal_squares_are_equal_pictures_whatever_their_names() -> None:
    one, other = show(noise(0), SIDE, name="one"), show(noise(0), SIDE, name="other")
    assert isinstance(one, Shown) and one == other and one != show(noise(1), SIDE)
