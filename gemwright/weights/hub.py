"""Model names → folders: a path, the hub's local cache, or the model that ships with the package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gemwright.arch import presets
from gemwright.arch.spec import Model
from gemwright.errors import UserError
from gemwright.paths import probe

EMBEDDED = "pocket"
OWNER = "google"
# What is fetched: configs, safetensors, tokenizers, templates. Other formats of the same weights stay on the hub.
_PATTERNS = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt", "*.md", "LICENSE*"]


def embedded() -> Path:
    """The folder of the model that ships with the package."""
    return Path(__file__).resolve().parent.parent / "recipes" / EMBEDDED


def repository(name: str) -> str:
    """A hub repository's full name: `gemma-3-1b-it` → `google/gemma-3-1b-it`.

    Gemma 3 from 1B up has no repository without a suffix; its pre-trained weights are under `-pt`.
    """
    if "/" in name:
        return name
    plain = name.lower()
    if plain.startswith("gemma-3-") and plain in presets.names() and plain != "gemma-3-270m":
        plain += "-pt"
    return f"{OWNER}/{plain}"


def resolve(name: str | Path | None) -> Path:
    """The folder (or .gguf or .ckpt file) of a model. Never touches the network.

    None and "pocket" are the embedded model; then a path that exists; then a name in the hub's local cache.
    """
    if name is None or name == EMBEDDED:
        folder = embedded()
        if not (folder / "config.json").exists():
            raise UserError(f"the embedded model is missing from {folder}", hint="install the package again")
        return folder
    text, path = str(name), probe(name)
    if path.exists():
        return path
    is_file = path.suffix in (".gguf", ".ckpt")
    if is_file or isinstance(name, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise UserError(f"{path} does not exist", hint="check the path")
    repo = repository(text)
    if cached := _cached(repo):
        return cached
    if "/" not in text:
        presets.sizes(text)  # an unknown name ends here, with its neighbours
    raise UserError(f"{text} is neither a folder here nor in the local cache", hint=f"fetch it: gemwright pull {text}")


def locate(name: str | Path | None) -> Path | Model:
    """As `resolve`; where no files are here, the published model of that name, given alone or under `google/`."""
    try:
        return resolve(name)
    except UserError:
        published = _published(name) if isinstance(name, str) else None
        if published is None:
            raise
        return published


def _published(name: str) -> Model | None:
    plain = name.removeprefix(f"{OWNER}/")
    try:
        return None if "/" in plain else presets.preset(plain)  # of others' weights of that name nothing is known
    except UserError:
        return None


def _cached(repo: str) -> Path | None:
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    try:
        found = huggingface_hub.try_to_load_from_cache(repo, "config.json")
    except HFValidationError as error:
        raise UserError(
            f"{repo!r} is no name of a hub repository", hint="names look like google/gemma-3-1b-it"
        ) from error
    return Path(found).parent if isinstance(found, str) else None


def pull(name: str, folder: Path | None = None, token: str | None = None, revision: str | None = None) -> Path:
    """Fetch a repository's configs, safetensors and tokenizer; a broken download resumes where it stopped.

    With `folder` the files lie there, else in the hub's cache, where `resolve` finds them by name. Raises `UserError`
    for an unknown name, a licence that has not been accepted, no network, a full disk, and a repository without
    safetensors.
    """
    import huggingface_hub

    if name == EMBEDDED:
        return resolve(name)
    if "/" not in name:
        presets.sizes(name)
        if name.lower().startswith("griffin"):
            raise UserError(
                f"the weights of {name} were never published", hint=f"make fresh ones: gemwright new {name}"
            )
    repo = repository(name)
    where = None if folder is None else probe(folder)
    fetched = Path(
        _explained(
            lambda: huggingface_hub.snapshot_download(
                repo, revision=revision, local_dir=where, token=token, allow_patterns=_PATTERNS
            ),
            repo,
        )
    )
    if not any(fetched.glob("*.safetensors")):
        raise UserError(
            f"{repo} has no safetensors files, so there are no weights in {fetched}",
            hint=f"a .ckpt file is converted by gemwright convert; see https://huggingface.co/{repo}/tree/main",
        )
    return fetched


def _transport_error() -> type[Exception]:
    """What the hub client's HTTP library raises when a connection fails; which library it is depends on its version."""
    from huggingface_hub import errors

    return next(kind for kind in errors.HfHubHTTPError.__mro__[1:] if kind.__module__.partition(".")[0] != "builtins")


def _explained(fetch: Callable[[], Any], repo: str) -> Any:
    """Run a download; every way in which it fails becomes a sentence with something to do."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{repo}"
    try:
        return fetch()
    except errors.HFValidationError as error:
        raise UserError(
            f"{repo!r} is no name of a hub repository", hint="names look like google/gemma-3-1b-it"
        ) from error
    except errors.GatedRepoError as error:
        raise UserError(
            f"{repo} is under a licence that this account has not accepted (Gemma Terms of Use)",
            hint=f"accept it at {page}, make a token at https://huggingface.co/settings/tokens, and give it by --token",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{repo} has no such revision", hint=f"see {page}/commits") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(f"the hub knows no {repo}, or keeps it private", hint=f"check the name at {page}") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError) as error:
        raise UserError(
            f"the hub cannot be reached, and {repo} is not in the local cache",
            hint="check the network; or copy the folder here and give its path",
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        said: dict[Any, str] = {
            401: "the token is missing or wrong",
            403: "the token may not read this",
            429: "too many requests",
        }
        raise UserError(f"the hub answered {status} for {repo}", hint=said.get(status, "try again later")) from error
    except (OSError, _transport_error()) as error:
        raise UserError(f"the download of {repo} stopped: {error}", hint="run it again; it resumes") from error
