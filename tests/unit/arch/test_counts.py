"""Parameter counts of the published sizes, from the modules themselves, built on the meta device."""

from __future__ import annotations

import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.nn.decoder import Decoder

# name, rows of the table, embedding, the rest (Gemma reports, tables of parameter counts). The reports of Gemma 1 and
# 2 count 256,128 rows, the files hold 256,000; those of Gemma 3 from 4B up hold 262,208 rows and count 262,144.
PUBLISHED = [
    ("gemma-2b", 256_128, 524_550_144, 1_981_884_416),
    ("gemma-7b", 256_128, 786_825_216, 7_751_248_896),
    ("gemma-2-2b", 256_128, 590_118_912, 2_024_517_888),
    ("gemma-2-9b", 256_128, 917_962_752, 8_324_201_984),
    ("gemma-2-27b", 256_128, 1_180_237_824, 26_047_480_320),
    ("gemma-3-270m", 262_144, 167_772_160, 100_326_016),
    ("gemma-3-1b", 262_144, 301_989_888, 697_896_064),
    ("gemma-3-4b", 262_144, 671_088_640, 3_209_010_688),
    ("gemma-3-12b", 262_144, 1_006_632_960, 10_759_155_456),
    ("gemma-3-27b", 262_144, 1_409_286_144, 25_599_716_096),
    ("recurrentgemma-2b", 256_000, 655_360_000, 2_027_502_080),
    ("recurrentgemma-9b", 256_000, 1_048_576_000, 7_531_401_216),
]
FILES = [
    ("gemma-2b", 256_000),
    ("gemma-2-2b", 256_000),
    ("gemma-3-1b", 262_144),
    ("recurrentgemma-2b", 256_000),
]


def counted(name: str, vocab: int) -> tuple[int, int]:
    with torch.device("meta"):
        model = Decoder(preset(name, vocab=vocab))
    table = model.embed.weight.numel()
    return table, sum(parameter.numel() for parameter in model.parameters()) - table


@pytest.mark.parametrize(("name", "vocab", "embedding", "rest"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_the_reports_parameter_counts(name: str, vocab: int, embedding: int, rest: int) -> None:
    assert counted(name, vocab) == (embedding, rest)


@pytest.mark.parametrize(("name", "rows"), FILES)
def test_presets_have_the_rows_of_the_files(name: str, rows: int) -> None:
    assert preset(name).vocab == rows


def test_files_from_4b_up_have_64_rows_more() -> None:
    embedding, rest = counted("gemma-3-4b", 262_208)
    assert embedding == 262_208 * 2560 and rest == 3_209_010_688
