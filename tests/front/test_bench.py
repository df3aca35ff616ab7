"""bench, as people type it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from gemwright.bench import bandwidth
from gemwright.ops.native import calls
from gemwright.weights.hub import embedded

SHORT = ("--prefill", "16", "--decode", "4", "--batch", "2", "--rounds", "1", "--threads", "1")
PEER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    answers = {"load": {"weights": 10**9}, "memory": {"bytes": 10**9}}
    print(json.dumps(answers.get(asked["do"], {"seconds": 1e9})), flush=True)
"""


@pytest.fixture(autouse=True)
def small_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth.read_bandwidth, "__defaults__", (3, 1 << 20))


@pytest.fixture
def peers(tmp_path: Path) -> Path:
    (tmp_path / "peer.py").write_text(PEER)
    tree = {"slow": {"command": [sys.executable, "-I", str(tmp_path / "peer.py")], "reads": "folder"}}
    tree["other"] = tree["slow"] | {"reads": "gguf"}
    (tmp_path / "peers.json").write_text(json.dumps(tree))
    return tmp_path


def test_the_embedded_model_is_measured_beside_a_peer(cli: Callable, peers: Path) -> None:
    picture = peers / "speed.png"
    tensors = load_file(embedded() / "model.safetensors")
    weights = sum(tensor.nbytes for name, tensor in tensors.items() if name.startswith("language_model"))  # no tower
    ended = cli("bench", *SHORT, "--against", "slow", "--peers", peers, "--json", "--plot", picture)
    assert ended.code == 0 and ended.err == ""
    rows = {row["label"]: row for row in ended.json["rows"]}
    assert ended.json["model"] == "pocket" and ended.json["threads"] == 1
    assert {"prefill 16", "decode", "batch of 2", "first token", "peak memory", "of the bandwidth"} <= rows.keys()
    assert rows["decode"]["values"][0] > 1 > rows["decode"]["values"][1] and rows["decode"]["ratio"] > 1
    packed = 0.75 if calls.available() else 1  # bfloat16 in 12 bits
    assert rows["weights"]["values"][0] * 1e9 == pytest.approx(packed * weights, rel=0.03)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_prompts_beyond_the_context_are_left_out_with_a_note(cli: Callable, tiny: Path) -> None:
    ended = cli("bench", tiny, *SHORT, "--prefill", "512")
    assert ended.code == 0 and "prefill 512 is left out" in ended.err
    assert "prefill 16" in ended.out and "prefill 512" not in ended.out and "GB/s" in ended.out


def test_a_peer_that_is_not_set_up_is_a_mistake_at_once(cli: Callable, peers: Path) -> None:
    ended = cli("bench", *SHORT, "--against", "nobody", "--peers", peers)
    assert ended.code == 2 and "nobody" in ended.err and "slow, other" in ended.err
    ended = cli("bench", *SHORT, "--against", "slow", "--peers", peers / "none")
    assert ended.code == 2 and "bench/setup.py" in ended.err


def test_a_peer_that_reads_another_form_wants_a_file(cli: Callable, peers: Path) -> None:
    ended = cli("bench", *SHORT, "--against", "other", "--peers", peers)
    assert ended.code == 2 and "--gguf" in ended.err


def test_a_plot_that_cannot_be_drawn_is_refused_before_measuring(cli: Callable, tmp_path: Path) -> None:
    ended = cli("bench", *SHORT, "--plot", tmp_path / "speed.txt")
    assert ended.code == 2 and "picture" in ended.err


def test_what_the_model_refuses_is_told_as_its_own_words(cli: Callable) -> None:
    ended = cli("bench", *SHORT, "--quant", "nonsense")
    assert ended.code == 2 and ended.out == "" and len(ended.err.splitlines()) == 2
