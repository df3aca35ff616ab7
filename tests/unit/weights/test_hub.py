"""Names become folders without a network, and every failed download becomes a sentence."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from gemwright.arch.presets import preset
from gemwright.errors import UserError
from gemwright.weights import hub


@pytest.mark.parametrize(
    ("name", "repo"),
    [
        ("gemma-3-1b-it", "google/gemma-3-1b-it"),
        ("google/gemma-3-1b-it", "google/gemma-3-1b-it"),
        ("someone/gemma-3-1b-poems", "someone/gemma-3-1b-poems"),
        ("gemma-3-4b", "google/gemma-3-4b-pt"),
        ("gemma-3-270m", "google/gemma-3-270m"),
        ("gemma-2-2b", "google/gemma-2-2b"),
        ("recurrentgemma-2b-it", "google/recurrentgemma-2b-it"),
    ],
)
def test_a_short_name_is_a_repository_of_google(name, repo) -> None:
    assert hub.repository(name) == repo


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A local cache: repository → folder."""
    held: dict[str, Path] = {}

    def find(repo: str, file: str) -> str | None:
        return str(held[repo] / file) if repo in held else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", find)
    return held


def test_a_path_wins_over_a_name(cache, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gemma-3-1b-it").mkdir()
    cache["google/gemma-3-1b-it"] = tmp_path / "cache"
    assert hub.resolve("gemma-3-1b-it") == Path("gemma-3-1b-it")


def test_a_cached_repository_is_found_by_its_short_name(cache, tmp_path) -> None:
    cache["google/gemma-3-1b-it"] = tmp_path / "snapshot"
    assert hub.resolve("gemma-3-1b-it") == tmp_path / "snapshot"


def test_a_name_that_was_never_fetched_says_how(cache) -> None:
    with pytest.raises(UserError, match="gemwright pull gemma-3-1b-it"):
        hub.resolve("gemma-3-1b-it")


def test_locate_looks_for_files_before_published_sizes(cache, tmp_path) -> None:
    assert hub.locate("google/gemma-3-1b-it") == hub.locate("gemma-3-1b-it") == preset("gemma-3-1b")
    cache["google/gemma-3-1b-it"] = tmp_path
    assert hub.locate("google/gemma-3-1b-it") == hub.locate("gemma-3-1b-it") == tmp_path


@pytest.mark.parametrize("name", ["someone/gemma-3-4b", "./gemma-3-4b", "/gemma-3-4b", "a/google/gemma-3-4b", "gemma"])
def test_no_published_size_stands_in_for_something_else(cache, name) -> None:
    with pytest.raises(UserError):
        hub.locate(name)


@pytest.mark.parametrize("name", ["gemma-3-1c", "llama"])
def test_an_unknown_name_is_refused(cache, name) -> None:
    with pytest.raises(UserError, match=name):
        hub.resolve(name)


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c", Path("nowhere")])
def test_a_path_that_does_not_exist_is_called_a_path(cache, name) -> None:
    with pytest.raises(UserError, match="does not exist"):
        hub.resolve(name)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "bad name!/x", "a/-b-", "..x/y"])
def test_a_name_that_no_repository_can_have_is_refused(name) -> None:
    with pytest.raises(UserError):
        hub.resolve(name)


def test_the_embedded_model_is_the_default(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(hub, "embedded", lambda: tmp_path)
    with pytest.raises(UserError, match="embedded"):
        hub.resolve(None)
    (tmp_path / "config.json").touch()
    assert hub.resolve(None) == hub.resolve("pocket") == hub.pull("pocket") == tmp_path


def test_a_pull_asks_for_safetensors_and_tokenizers_only(monkeypatch, tmp_path) -> None:
    asked: dict[str, Any] = {}

    def download(repo: str, **options: Any) -> str:
        asked.update(options, repo=repo)
        (tmp_path / "model.safetensors").touch()
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert hub.pull("gemma-3-1b-it", tmp_path / "here", token="secret") == tmp_path
    assert (asked["repo"], asked["token"], asked["local_dir"]) == ("google/gemma-3-1b-it", "secret", tmp_path / "here")
    assert "*.safetensors" in asked["allow_patterns"] and "*.bin" not in asked["allow_patterns"]


def test_a_pull_that_brings_no_weights_says_so(monkeypatch, tmp_path) -> None:
    (tmp_path / "config.json").touch()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(UserError, match=r"google/gemma-2b has no safetensors") as caught:
        hub.pull("gemma-2b")
    assert "convert" in caught.value.hint


def http_error(kind: type[Exception], status: int) -> Exception:
    error = kind.__new__(kind)
    Exception.__init__(error, "from the wire")
    error.response = SimpleNamespace(status_code=status)  # type: ignore[attr-defined]
    return error


def transport_error() -> Exception:
    base = hub._transport_error()
    return type("ConnectError", (base,), {})("no route to host")


FAILURES = {
    "gated": (
        http_error(errors.GatedRepoError, 403),
        ["licence", "https://huggingface.co/google/gemma-3-1b-it", "--token"],
    ),
    "unknown": (http_error(errors.RepositoryNotFoundError, 404), ["knows no google/gemma-3-1b-it"]),
    "revision": (http_error(errors.RevisionNotFoundError, 404), ["revision"]),
    "no token": (http_error(errors.HfHubHTTPError, 401), ["401", "token"]),
    "busy": (http_error(errors.HfHubHTTPError, 503), ["503", "later"]),
    "not cached": (errors.LocalEntryNotFoundError("offline"), ["cannot be reached", "network"]),
    "offline": (errors.OfflineModeIsEnabled("offline"), ["cannot be reached"]),
    "connection": (ConnectionError("refused"), ["cannot be reached"]),
    "transport": (transport_error(), ["stopped", "resumes"]),
    "full disk": (OSError(28, "No space left on device"), ["No space left", "resumes"]),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failed_download_says_what_to_do(monkeypatch, case) -> None:
    error, said = FAILURES[case]

    def fail(repo: str, **options: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(UserError) as caught:
        hub.pull("gemma-3-1b-it")
    for word in said:
        assert word in str(caught.value)
    assert caught.value.hint


def test_a_mistyped_name_never_reaches_the_network(monkeypatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the network"))
    with pytest.raises(UserError, match="did you mean"):
        hub.pull("gemma-3-1bb")
    with pytest.raises(UserError, match="never published"):
        hub.pull("griffin-100m")
