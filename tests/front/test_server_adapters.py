"""Adapters by name: from folders that PEFT's format has, through `load` and the server, to the official client."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch

import gemwright
from gemwright.cli.options import read_adapters
from gemwright.engine.request import Sampling
from gemwright.errors import UserError
from gemwright.lm import LM
from gemwright.loading import attach_lora, load_model, save_lora
from gemwright.lora import Lora
from gemwright.server.batch import run_batch
from gemwright.server.http import app
from gemwright.server.settings import Settings

sys.path.append(str(Path(__file__).resolve().parent))
from serving import ENDLESS, QUESTION, Live, ask, running

GREEDY = Sampling(temperature=0, max_tokens=8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters for the embedded model, on different matrices, of different ranks."""
    found = {}
    for seed, (name, rank, targets) in enumerate((("red", 4, ("all-linear",)), ("blue", 2, ("q_proj", "down")))):
        model, generator = load_model("pocket").model, torch.Generator().manual_seed(seed)
        attach_lora(model, Lora(rank=rank, alpha=8.0, targets=targets, dropout=0.0, rslora=False), generator)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if key.endswith("lora_b"):
                    parameter.normal_(0.0, 1.0, generator=generator)
        found[name] = save_lora(model, tmp_path_factory.mktemp("adapters") / name)
    return found


@pytest.fixture(scope="module")
def many(folders: dict[str, Path]) -> LM:
    """The embedded model with both beside its weights."""
    return gemwright.load("pocket", adapters=folders)


@pytest.fixture(scope="module")
def live(many: LM) -> Iterator[Live]:
    with running(many) as found:
        yield found


@pytest.fixture(scope="module")
def client(live: Live) -> openai.OpenAI:
    return live.client()


def texts(client: openai.OpenAI) -> dict[str, str]:
    """What each model answers."""
    asked = {"max_tokens": 16, "logit_bias": ENDLESS}
    return {name: ask(client, model=name, **asked).choices[0].message.content for name in ("pocket", "red", "blue")}


# ----------------------------------------------------------------------------------------------------------------------
# load


def test_load_says_what_it_holds(many: LM) -> None:
    assert list(many.adapters) == ["red", "blue"]
    notes = [note for note in many.notes if "beside" in note]
    assert len(notes) == 2 and notes[1].startswith("blue: ")


def test_an_adapter_by_name_says_what_it_says_in_the_weights(many: LM, folders: dict[str, Path]) -> None:
    """Up to the rounding of the sum to the weights' dtype."""
    ids = many.generate("The cat", GREEDY).ids[:1] + tuple(range(300, 320))
    bare = many.logits(ids)
    for name, folder in folders.items():
        inside = gemwright.load("pocket", adapter=folder).logits(ids)
        beside = many.logits(ids, adapter=name)
        assert (beside - inside).std() < 0.05 * (bare - inside).std()


def test_generate_stream_and_chat_take_a_name(many: LM) -> None:
    found = many.generate("The cat", GREEDY, adapter="red")
    assert "".join(many.stream("The cat", GREEDY, adapter="red")) == found.text
    assert found.ids != many.generate("The cat", GREEDY).ids
    spoken = {name: many.chat(sampling=GREEDY, adapter=name).say("Tell me a story.").ids for name in (None, "red")}
    assert spoken[None] != spoken["red"]


def test_a_score_takes_a_name_in_each_of_its_windows(many: LM) -> None:
    ids = many.generate("The cat", GREEDY).ids[:1] + tuple(range(300, 340))
    window = many.logits(ids[20:], adapter="red").log_softmax(-1)
    found = many.score(ids, window=21, stride=20, adapter="red")
    expected = window[range(20), ids[21:]]
    torch.testing.assert_close(torch.tensor(found.logprobs[20:]), expected, atol=2e-3, rtol=1e-3)
    assert (
        max(abs(a - b) for a, b in zip(found.logprobs, many.score(ids, window=21, stride=20).logprobs, strict=True))
        > 0.1
    )


def test_names_and_folders_that_do_not_fit_are_refused(many: LM, folders: dict[str, Path], tmp_path: Path) -> None:
    for name, folder, said in (
        ("red", folders["blue"], "already"),
        ("", folders["blue"], "empty"),
        ("new", tmp_path, "adapter_config.json"),
    ):
        with pytest.raises(UserError, match=said):
            many.add_adapter(name, folder)
    with pytest.raises(UserError, match="no adapter is called 'green'"):
        many.generate("The cat", adapter="green")
    assert list(many.adapters) == ["red", "blue"]


# ----------------------------------------------------------------------------------------------------------------------
# The server


def test_each_adapter_is_listed_as_a_model_with_its_parent(client: openai.OpenAI) -> None:
    listed = {model.id: model.model_dump().get("parent") for model in client.models.list().data}
    assert listed == {"pocket": None, "red": "pocket", "blue": "pocket"}
    assert client.models.retrieve("red").model_dump()["parent"] == "pocket"


def test_a_model_s_name_chooses_its_adapter(client: openai.OpenAI, many: LM) -> None:
    found = texts(client)
    assert len(set(found.values())) == 3
    sampling = Sampling(temperature=0, max_tokens=16, logit_bias={int(id): bias for id, bias in ENDLESS.items()})
    for name in ("red", "blue"):
        assert many.chat(sampling=sampling, adapter=name).say(QUESTION[0]["content"]).text == found[name]


def test_answers_name_the_model_that_was_asked(client: openai.OpenAI) -> None:
    assert ask(client, model="red").model == "red" and ask(client).model == "pocket"
    assert {chunk.model for chunk in ask(client, model="blue", stream=True)} == {"blue"}
    response = client.responses.create(model="red", input="hello", max_output_tokens=4)
    completion = client.completions.create(model="red", prompt="hello", max_tokens=4)
    assert response.model == completion.model == "red"


def test_requests_for_different_adapters_together_are_answered_as_alone(client: openai.OpenAI) -> None:
    expected = texts(client)
    names = ["red", "pocket", "blue", "red", "blue", "pocket"]
    with ThreadPoolExecutor(len(names)) as pool:
        asked = {"max_tokens": 16, "logit_bias": ENDLESS}
        found = list(pool.map(lambda name: ask(client, model=name, **asked), names))
    assert [one.choices[0].message.content for one in found] == [expected[name] for name in names]


def test_what_was_read_for_one_adapter_is_read_again_for_another(client: openai.OpenAI) -> None:
    question = {"messages": [{"role": "user", "content": "How many legs has a spider, and how many has a fly?"}]}

    def cached(name: str) -> int:
        return ask(client, model=name, **question).usage.prompt_tokens_details.cached_tokens

    assert all(cached(name) < 5 for name in ("red", "blue", "pocket"))  # what every conversation begins with
    assert cached("red") > 10


def test_embeddings_are_the_adapter_s(client: openai.OpenAI) -> None:
    found = {
        name: client.embeddings.create(model=name, input="a cat", encoding_format="float") for name in ("pocket", "red")
    }
    assert found["red"].model == "red"
    assert found["red"].data[0].embedding != found["pocket"].data[0].embedding


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/embeddings"])
def test_an_unknown_model_is_a_404_that_names_those_there_are(live: Live, route: str) -> None:
    body: dict[str, Any] = {"model": "green"}
    body |= {"input": "a"} if "embeddings" in route else {"messages": QUESTION}
    answer = httpx.post(live.url + route, json=body)
    error = answer.json()["error"]
    assert answer.status_code == 404 and error["code"] == "model_not_found" and error["param"] == "model"
    assert all(name in error["message"] for name in ("'green'", "'pocket'", "'red'", "'blue'"))


def test_an_adapter_cannot_have_the_model_s_name(many: LM) -> None:
    with pytest.raises(UserError, match="both called 'red'"):
        app(many, Settings(name="red"))


def test_a_batch_s_rows_choose_too(many: LM, tmp_path: Path) -> None:
    rows = [f'{{"prompt": "The cat", "model": "{name}", "max_tokens": 8, "temperature": 0}}' for name in ("red", "x")]
    (tmp_path / "in").write_text("\n".join(rows))
    run_batch(many, tmp_path / "in", tmp_path / "out")
    red, other = (tmp_path / "out").read_text().splitlines()
    found = [json.loads(line)["response"]["body"] for line in (red, other)]
    assert many.generate("The cat", GREEDY, adapter="red").text == found[0]["choices"][0]["text"]
    assert [one["model"] for one in found] == ["red", "pocket"]


# ----------------------------------------------------------------------------------------------------------------------
# The command


def test_serve_tells_named_adapters_from_one_for_the_weights() -> None:
    assert read_adapters([]) == (None, {})
    assert read_adapters(["a=x", "folder", "b=y/z=1"]) == (Path("folder"), {"a": Path("x"), "b": Path("y/z=1")})
    assert read_adapters(["./a=b"]) == (Path("a=b"), {})


@pytest.mark.parametrize(
    ("given", "said"),
    [(["a=x", "a=y"], "two adapters"), (["x", "y"], "take one"), (["=x"], "names no"), (["a="], "names no")],
)
def test_adapters_that_cannot_be_meant_end_with_two_lines(cli: Callable, given: list[str], said: str) -> None:
    ended = cli("serve", "pocket", "--port", "0", *(word for one in given for word in ("--adapter", one)))
    assert ended.code == 2 and said in ended.err
