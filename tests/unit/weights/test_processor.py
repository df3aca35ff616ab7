"""Settings of pictures: the published ones are read, others are honoured or refused, and none is passed over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from gemwright.arch.gemma3 import SIGLIP
from gemwright.errors import UserError
from gemwright.image.pan_scan import PAN_SCAN
from gemwright.loading import load_model, load_tower
from gemwright.weights.processor import PIXELS, PROCESSOR, Processor, check, documents, read_processor

PUBLISHED = documents(SIGLIP)


def put(folder: Path, **changes: Any) -> Path:
    """A folder with the published settings and these."""
    (folder / PIXELS).write_text(json.dumps({**PUBLISHED[PIXELS], **changes}))
    return folder


def test_published_settings_are_what_gemwright_does(tmp_path: Path) -> None:
    expected = Processor(side=896, tokens=256, pan_scan=None, rule=PAN_SCAN, notes=())
    (tmp_path / PROCESSOR).write_text(json.dumps(PUBLISHED[PROCESSOR]))
    assert read_processor(put(tmp_path)) == expected
    check(expected, SIGLIP, tmp_path)


def test_a_folder_may_say_nothing(tmp_path: Path) -> None:
    found = read_processor(tmp_path)
    assert found == Processor(side=None, tokens=None, pan_scan=None, rule=PAN_SCAN, notes=())
    check(found, SIGLIP, tmp_path)


def test_what_transformers_writes_is_read(tmp_path: Path) -> None:
    size = {"height": 896, "width": 896}
    processor = transformers.models.gemma3.image_processing_pil_gemma3.Gemma3ImageProcessorPil(
        size=size, do_pan_and_scan=True, pan_and_scan_max_num_crops=3
    )
    processor.save_pretrained(tmp_path)
    found = read_processor(tmp_path)
    assert found.side == 896 and not found.notes
    assert found.pan_scan is not None and found.pan_scan.max_crops == 3
    assert found.pan_scan.min_ratio == PAN_SCAN.min_ratio


def test_transformers_reads_what_is_written(tmp_path: Path) -> None:
    for name, tree in PUBLISHED.items():
        (tmp_path / name).write_text(json.dumps(tree))
    made = transformers.models.gemma3.image_processing_pil_gemma3.Gemma3ImageProcessorPil.from_pretrained(tmp_path)
    assert (made.size["height"], made.resample, list(made.image_mean)) == (896, 2, [0.5, 0.5, 0.5])
    assert not made.do_pan_and_scan


def test_settings_inside_processor_config_count(tmp_path: Path) -> None:
    inside = {key: value for key, value in PUBLISHED[PIXELS].items() if key != "image_seq_length"}
    tree = {"image_processor": {**inside, "do_pan_and_scan": True}, "image_seq_length": 256}
    (tmp_path / PROCESSOR).write_text(json.dumps(tree))
    assert read_processor(tmp_path) == Processor(side=896, tokens=256, pan_scan=PAN_SCAN, rule=PAN_SCAN, notes=())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resample", 3),
        ("resample", "bicubic"),
        ("image_mean", [0.48, 0.45, 0.4]),
        ("image_mean", 0.5),
        ("image_std", [0.25, 0.25, 0.25]),
        ("rescale_factor", 1 / 127.5),
        ("do_resize", False),
        ("do_rescale", False),
        ("do_normalize", False),
        ("do_convert_rgb", False),
        ("do_center_crop", True),
        ("do_pad", True),
        ("size", {"height": 896, "width": 448}),
        ("size", {"shortest_edge": 896}),
        ("pan_and_scan_max_num_crops", 1),
        ("pan_and_scan_min_ratio_to_activate", 0.5),
        ("do_pan_and_scan", "yes"),
    ],
)
def test_a_setting_that_gives_other_pixels_is_refused_by_name(tmp_path: Path, key: str, value: Any) -> None:
    word = "max_crops" if "crops" in key else "min_ratio" if "ratio" in key else key
    with pytest.raises(UserError, match=rf"preprocessor_config\.json.*{word}|{word}.*preprocessor_config\.json"):
        read_processor(put(tmp_path, **{key: value}))


def test_null_means_what_is_always_done(tmp_path: Path) -> None:
    nothing = dict.fromkeys(key for key in PUBLISHED[PIXELS] if key != "size")
    assert read_processor(put(tmp_path, **nothing)).pan_scan is None


def test_pan_and_scan_s_settings_are_honoured(tmp_path: Path) -> None:
    found = read_processor(
        put(
            tmp_path,
            do_pan_and_scan=True,
            pan_and_scan_min_crop_size=128,
            pan_and_scan_max_num_crops=6,
            pan_and_scan_min_ratio_to_activate=1.5,
        )
    ).pan_scan
    assert found is not None
    assert (found.min_crop, found.max_crops, found.min_ratio, found.overrun) == (128, 6, 1.5, "cut")


def test_a_rule_that_is_off_is_there_for_who_asks(tmp_path: Path) -> None:
    found = read_processor(put(tmp_path, pan_and_scan_max_num_crops=2))
    assert found.pan_scan is None and found.rule.max_crops == 2


def test_a_key_that_nobody_knows_is_named_in_the_notes(tmp_path: Path) -> None:
    (note,) = read_processor(put(tmp_path, sharpen=True, do_sharpen=None)).notes
    assert '"sharpen"' in note and "do_sharpen" not in note


def test_a_file_without_a_size_has_that_of_transformers_class(tmp_path: Path) -> None:
    assert read_processor(put(tmp_path, size=None)).side == 224


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"size": {"height": 448, "width": 448}}, "size is 448"), ({"image_seq_length": 64}, "image_seq_length is 64")],
)
def test_settings_of_another_model_do_not_open_its_eyes(
    checkpoint: Callable[..., Path], changes: dict[str, Any], said: str
) -> None:
    folder = checkpoint("gemma3-vision")
    fitting = {"size": {"height": 28, "width": 28}, "image_seq_length": 4}
    load_tower(put(folder, **fitting))
    put(folder, **(fitting | changes))
    with pytest.raises(UserError, match=said):
        load_tower(folder)


def test_a_tower_s_notes_name_what_nobody_knows(checkpoint: Callable[..., Path]) -> None:
    notes: list[str] = []
    folder = put(checkpoint("gemma3-vision"), size={"height": 28, "width": 28}, image_seq_length=4, sharpen=True)
    load_tower(folder, notes=notes)
    assert len(notes) == 1 and '"sharpen"' in notes[0]


def test_a_text_model_does_not_care_about_pictures(checkpoint: Callable[..., Path]) -> None:
    folder = put(checkpoint("gemma3-vision"), resample=3)
    assert load_model(folder).spec.vision is not None
    with pytest.raises(UserError, match="resample"):
        load_tower(folder)
