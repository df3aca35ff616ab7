"""Tasks of the public harness `lm-eval`, run on our models (extra `eval`)."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemwright.errors import UserError
from gemwright.evals.adapter import Adapter
from gemwright.lm import LM


def adapter(lm: LM) -> Any:
    """An object that `lm_eval.simple_evaluate(model=…)` takes. Raises `UserError` without the extra, or for a model
    without a tokenizer."""
    return type("GemwrightLM", (Adapter, _lm_eval("lm_eval.api.model").TemplateLM), {})(lm)


def evaluate(
    lm: LM, tasks: Sequence[str], *, folder: Path | None = None, limit: int | None = None, chat: bool = False
) -> dict[str, Any]:
    """What the harness finds, as JSON values: `results` by task, the tasks' versions, shots and items.

    `folder`: of task files beside the harness's own. `limit`: items of each task. `chat`: put the questions in the
    model's chat layout. Raises `UserError` without the extra, and for a task that is not there.
    """
    model = adapter(lm)
    found = _lm_eval("lm_eval").simple_evaluate(
        model=model,
        tasks=list(tasks),
        task_manager=_manager(tasks, folder),
        limit=limit,
        apply_chat_template=chat,
        log_samples=False,
    )
    kept = {name: _finite(found[name]) for name in ("results", "versions", "n-shot", "n-samples") if name in found}
    return {"lm_eval": _lm_eval("lm_eval").__version__} | kept


def _manager(tasks: Sequence[str], folder: Path | None) -> Any:
    """The folder's tasks, and the harness's own thousands only where they are asked for: listing them takes time."""
    make = _lm_eval("lm_eval.tasks").TaskManager
    if folder is not None:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}", hint="give the one that holds the tasks' YAML files")
        manager = make(include_path=str(folder), include_defaults=False)
        if all(name in manager.all_tasks for name in tasks):
            return manager
    manager = make(include_path=str(folder) if folder else None)
    if missing := [name for name in tasks if name not in manager.all_tasks]:
        raise UserError(f"lm-eval has no task {missing[0]!r}", hint="lm-eval ls tasks; your own: --tasks-folder DIR")
    return manager


def _finite(value: Any) -> Any:
    """JSON values: numbers that JSON lacks as None, other objects by their names."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _lm_eval(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError("lm-eval is not installed", hint="pip install 'gemwright[eval]'") from error
