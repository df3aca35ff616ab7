"""teach, as people type it: a store, how to train with it, and every way in which it does not come about."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gemwright.train.interrupt import Interrupt


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A file of eight documents."""
    path = tmp_path / "texts.jsonl"
    lines = [json.dumps({"text": f"def add_{number}(x):\n    return x + {number}\n" * 3}) for number in range(8)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def words(tiny: Path, texts: Path, tmp_path: Path) -> tuple[str | Path, ...]:
    """A command that makes a small store."""
    return ("teach", tiny, texts, "--out", tmp_path / "store", "--row", "64", "--samples", "8", "--shard", "2")


def test_a_store_says_what_it_costs_and_which_runs_it_fits(cli: Callable, words: tuple, tmp_path: Path) -> None:
    ended = cli(*words)
    assert ended.code == 0 and ended.out == f"{tmp_path / 'store'}\n"
    assert "for each draw" in ended.err and f"--set distill.store={tmp_path / 'store'}" in ended.err
    assert "--set data.row=64" in ended.err and "--set seed=1" in ended.err


def test_json_tells_the_sizes(cli: Callable, words: tuple) -> None:
    tree = cli(*words, "--rows", "3", "--json").json
    assert tree["finished"] and tree["rows"] == tree["wanted"] == 3
    assert 0 < tree["bytes_per_sample"] < 8 and tree["bytes_per_token"] == 8 * tree["bytes_per_sample"]


def test_ctrl_c_keeps_whole_shards_and_tells_how_to_go_on(
    cli: Callable, words: tuple, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wished = iter([False, False, True])
    with monkeypatch.context() as patch:
        patch.setattr(Interrupt, "__bool__", lambda self: next(wished))
        ended = cli(*words)
    assert ended.code == 130 and ended.out == "" and "the same command goes on" in ended.err
    assert len(list((tmp_path / "store").glob("*.bin"))) == 2
    assert cli(*words).code == 0


def test_a_damaged_file_is_named_and_made_again(cli: Callable, words: tuple, tmp_path: Path) -> None:
    cli(*words)
    path = tmp_path / "store" / "rows-00000001.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    ended = cli(*words)
    assert ended.code == 0 and "rows-00000001.bin is damaged" in ended.err and path.read_bytes() == whole


def test_a_recipes_run_gives_data_packing_length_and_draws(
    cli: Callable, tiny: Path, texts: Path, tmp_path: Path
) -> None:
    changes = [f"data.sources={texts}", "data.row=64", "step.tokens=128", "step.micro=64", "steps=3", "seed=9"]
    changes += ["data.held_out=0", "schedule.warmup=1", "distill.store=s", "distill.samples=4", "distill.seed=7"]
    given = [word for change in changes for word in ("--set", change)]
    tree = cli("teach", tiny, "--recipe", "python", *given, "--out", tmp_path / "s", "--json").json
    assert tree["rows"] == 6
    assert {"seed=9", "data.row=64", "distill.samples=4", "distill.seed=7"} <= set(tree["settings"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--samples", "4"), "number of draws"),
        (("--seed", "2"), "data or their packing"),
        (("--row", "32"), "data or their packing"),
        (("--temperature", "2"), "temperature"),
    ],
)
def test_another_store_in_its_place_is_refused(cli: Callable, words: tuple, more: tuple, said: str) -> None:
    cli(*words, "--rows", "2")
    ended = cli(*words, "--rows", "2", *more)
    assert ended.code == 2 and said in ended.err and "Traceback" not in ended.err


def test_texts_and_a_recipe_exclude_each_other(cli: Callable, words: tuple, tiny: Path, tmp_path: Path) -> None:
    for wrong, said in (
        ((*words, "--recipe", "python"), "one of the two"),
        (("teach", tiny, "--out", tmp_path / "s"), "one of the two"),
        ((*words, "--set", "seed=1"), "--recipe"),
        (("teach", tiny, "--out", tmp_path / "s", "--recipe", "python", "--row", "9"), "--set"),
        (("teach", tiny, "--out", tmp_path / "s", "--recipe", "nothing"), "pocket"),
        ((*words, "--held-out", "1"), "--held-out"),
        ((*words, "--row", "512"), "256 tokens"),
        ((*words, "--temperature", "0"), "temperature"),
    ):
        ended = cli(*wrong)
        assert ended.code == 2 and said in ended.err


def test_a_file_that_is_not_there_is_named(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    ended = cli("teach", tiny, tmp_path / "nothing.txt", "--out", tmp_path / "s")
    assert ended.code == 2 and "nothing.txt" in ended.err
