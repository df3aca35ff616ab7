"""eval, as people type it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.cli import eval_tables
from gemwright.loading import load_model, load_tower
from gemwright.nn.gemma import Tower
from gemwright.nn.init import initialise_tower
from gemwright.train.export import export

SMALL = ("--items", "2", "--max-tokens", "6")
EYES = Vision(tower=Encoder(image=56, patch=14, width=24, hidden=40, heads=2, depth=2, norm_epsilon=1e-6), tokens=4)
TASK = """\
task: letters
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["one", "two"]
doc_to_target: "{{{{label}}}}"
metric_list:
  - {{metric: acc}}
"""


def timeless(tree: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tree.items() if name != "times"}


def test_the_table_has_a_row_for_each_skill_within_80_columns(cli: Callable, tiny: Path) -> None:
    ended = cli("eval", tiny, *SMALL)
    assert ended.code == 0
    assert max(map(len, ended.out.splitlines())) <= 80 and "…" not in ended.out
    for skill in ("arithmetic", "word_problems", "instructions", "languages", "retrieval"):
        assert re.search(rf"^ {skill} .* 2 +\d+\.\d ", ended.out, re.MULTILINE), skill
    for skill in ("manipulation", "dialogue", "refusals"):
        assert skill in ended.out
    assert "pictures was left out: tiny does not see" in ended.out
    assert "do not fit the context" in ended.out  # 256 tokens are too few for most texts


def test_the_table_fits_whatever_was_right(cli: Callable, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = cli("eval", tiny, *SMALL, "--skill", "word_problems", "--json").json
    (row,) = tree["suites"]["pocket"]["skills"]
    row |= {"items": 10_000, "score": 1.0, "interval": [0.999, 1.0], "majority": 1.0, "ngram": 1.0, "tokens": 160.0}
    eval_tables.show_all(tree)
    shown = capsys.readouterr().out
    assert "99.9–100.0" in shown and "tokens" in shown and "160.0" in shown
    assert max(map(len, shown.splitlines())) <= 80 and "…" not in shown


@pytest.fixture(scope="module")
def sees(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a tower."""
    loaded, tower = load_model(tiny, dtype=torch.float32), Tower(EYES, 64)
    initialise_tower(tower, torch.Generator().manual_seed(1))
    out = tmp_path_factory.mktemp("sees") / "model"
    return export(loaded.model, tiny, out, tower=tower, dtype=torch.float32, sampling={}, documents={})


def test_a_model_that_sees_has_a_row_for_pictures_beside_the_baselines(cli: Callable, sees: Path) -> None:
    words = ("eval", sees, *SMALL, "--skill", "pictures")
    found = cli(*words, "--json").json["suites"]["pocket"]
    (row,) = found["skills"]
    assert row["skill"] == "pictures" and {"majority", "ngram"} <= row.keys() and not found["notes"]
    assert found["settings"]["tower"] == load_tower(sees).digest()
    assert re.search(r"^ pictures .* 2 +\d+\.\d ", cli(*words).out, re.MULTILINE)


def test_two_runs_give_the_same_json_but_for_times(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    words = ("eval", tiny, *SMALL, "--skill", "arithmetic", "--suite", "pocket", "--suite", "perplexity", "--json")
    first, again = cli(*words).json, cli(*words, "--save", tmp_path / "found.json").json
    assert timeless(first) == timeless(again) and first["times"].keys() == {"pocket", "perplexity"}
    assert timeless(json.loads((tmp_path / "found.json").read_text())) == timeless(first)
    assert timeless(cli(*words, "--seed", "5").json)["suites"]["pocket"] != first["suites"]["pocket"]


def test_json_holds_the_full_recipe(cli: Callable, tiny: Path) -> None:
    tree = cli("eval", tiny, *SMALL, "--skill", "arithmetic", "--seed", "3", "--threads", "1", "--json").json
    recipe, settings = tree["recipe"], tree["suites"]["pocket"]["settings"]
    assert recipe["folder"] == str(tiny) and recipe["seed"] == 3 and recipe["threads"] == 1
    assert {"weights", "tokenizer", "dtype", "quant", "versions"} <= recipe.keys()
    assert (
        settings["items"] == 2 and settings["sampling"]["max_tokens"] == 6 and settings["sampling"]["temperature"] == 0
    )


def test_wrong_answers_are_shown_when_asked_for(cli: Callable, tiny: Path) -> None:
    words = ("eval", tiny, *SMALL, "--skill", "arithmetic")
    assert "ideal" not in cli(*words).out
    shown = cli(*words, "--failures", "1").out
    assert shown.count("  ideal") == 1 and shown.count("  answer") == 1


def test_perplexity_of_a_file_agrees_with_score(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f(x):\n    return x\n" * 4)
    words = ("eval", tiny, "--suite", "perplexity", "--text", tmp_path / "a.py")
    found = cli(*words, "--json").json["suites"]["perplexity"]
    scored = cli("score", "--file", tmp_path / "a.py", "-m", tiny, "--json").json
    assert found["bits_per_byte"] == pytest.approx(scored["bits_per_byte"])
    assert found["tokens"] == scored["count"] and found["settings"]["text"] == [str(tmp_path / "a.py")]
    assert "trigram" in cli(*words).out


def test_needles_are_a_grid_that_names_the_window(cli: Callable, tiny: Path) -> None:
    out = cli("eval", tiny, "--suite", "needle", "--items", "1").out
    assert re.search(r"^ +232 +\d", out, re.MULTILINE) and "window of 16 tokens" in out and "95% back" in out


def test_tasks_of_the_harness_run(cli: Callable, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval", reason="the extra `eval` is not installed")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    records = [{"question": f"{number}?", "label": number % 2} for number in range(4)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (tmp_path / "letters.yaml").write_text(TASK.format(data=tmp_path / "data.jsonl"))
    words = ("eval", tiny, "--harness", "letters", "--tasks-folder", tmp_path)
    tree = cli(*words, "--limit", "2", "--json").json
    assert tree["harness"]["n-samples"]["letters"]["effective"] == 2 and not tree["suites"]
    assert re.search(r"letters +acc +\d\.\d{4}", cli(*words).out)
    ended = cli("eval", tiny, "--harness", "absent", "--tasks-folder", tmp_path / "absent")
    assert ended.code == 2 and "no folder" in ended.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--text", "a.txt"), "--suite perplexity"),
        (("--suite", "needle", "--skill", "arithmetic"), "--suite pocket"),
        (("--skill", "flying"), "there is no skill 'flying'"),
        (("--limit", "3"), "--harness"),
        (("--chat",), "--harness"),
        (("--suite", "needle", "--failures", "1"), "--suite pocket"),
        (("--harness", "letters", "--items", "3"), "--suite"),
        (("--save", "absent/found.json"), "cannot be written"),
        (("--suite", "perplexity", "--text", "absent.txt"), "absent.txt"),
    ],
)
def test_what_nothing_would_read_is_refused(cli: Callable, tiny: Path, words: tuple[str, ...], told: str) -> None:
    ended = cli("eval", tiny, *words)
    assert ended.code == 2 and told in ended.err and ended.out == ""
