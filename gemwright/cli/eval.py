"""`gemwright eval`: what a model can do, in numbers with their error bars."""

from __future__ import annotations

import json as json_text
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemwright.cli import eval_tables, options, show
from gemwright.errors import UserError
from gemwright.paths import probe

if TYPE_CHECKING:
    from gemwright.lm import LM


class Suite(StrEnum):
    """What can be measured."""

    POCKET = "pocket"
    PERPLEXITY = "perplexity"
    NEEDLE = "needle"


_Suites = Annotated[
    list[Suite] | None, typer.Option(help="What to measure; may be given again.", show_default="pocket")
]
_Skills = Annotated[
    list[str] | None, typer.Option(help="A skill of the pocket suite; may be given again.", show_default="all")
]
_Items = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Questions of a skill, documents of a text, questions of each length and distance.",
        show_default="500, all, 20",
    ),
]
_Text = Annotated[
    list[Path] | None,
    typer.Option(
        help="Measure perplexity on this file; may be given again.", show_default="text of this Python held out"
    ),
]
_MaxTokens = Annotated[int | None, typer.Option(min=1, help="Tokens of a pocket answer at most.", show_default="160")]
_Harness = Annotated[
    str | None, typer.Option(metavar="TASK,…", help="Run tasks of lm-eval instead.", show_default=False)
]
_TasksFolder = Annotated[Path | None, typer.Option(help="Task files of your own for --harness.", show_default=False)]
_Limit = Annotated[int | None, typer.Option(min=1, help="Questions of a --harness task at most.", show_default="all")]


def run(
    model: options.Model = "pocket",
    suite: _Suites = None,
    skill: _Skills = None,
    items: _Items = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed asks the same questions.")] = 0,
    text: _Text = None,
    max_tokens: _MaxTokens = None,
    failures: Annotated[int, typer.Option(min=0, help="Wrong answers of a skill to show.")] = 0,
    harness: _Harness = None,
    tasks_folder: _TasksFolder = None,
    limit: _Limit = None,
    chat: Annotated[bool, typer.Option("--chat", help="Put --harness questions as a chat does.")] = False,
    save: Annotated[Path | None, typer.Option(help="Write the JSON to this file too.", show_default=False)] = None,
    context: options.Context = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quant: options.Quant = None,
    adapter: options.Adapter = None,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Measure what a model can do.

    pocket: questions that training never sees, by skill, beside two baselines
    that understand nothing.

    perplexity: text that was held out, beside n-gram models.

    needle: one record of a long text, by length and distance.

    The JSON holds all that is needed to measure again.

    Example: [bold]gemwright eval pocket --suite perplexity[/bold]
    """
    asked = _Asked(
        suites=tuple(dict.fromkeys(suite or ([] if harness else [Suite.POCKET]))),
        skills=tuple(skill or ()),
        text=tuple(text or ()),
        items=items,
        seed=seed,
        max_tokens=max_tokens,
        failures=failures,
        tasks=tuple(name.strip() for name in (harness or "").split(",") if name.strip()),
        tasks_folder=tasks_folder,
        limit=limit,
        chat=chat,
    )
    _check(asked, save)
    lm = options.load(model, device, dtype, threads, context, quant, adapter)
    tree = _measure(lm, asked, {"quant": quant, "adapter": str(adapter) if adapter else None})
    if save is not None:
        _write(tree, save)
    if json:
        show.as_json(tree)
    else:
        eval_tables.show_all(tree)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The options that say what to measure; `tasks` and what follows are the harness's."""

    suites: tuple[Suite, ...]
    skills: tuple[str, ...]
    text: tuple[Path, ...]
    items: int | None
    seed: int
    max_tokens: int | None
    failures: int
    tasks: tuple[str, ...]
    tasks_folder: Path | None
    limit: int | None
    chat: bool


def _check(asked: _Asked, save: Path | None) -> None:
    """Raises `UserError` for options that nothing would read, and for a file that cannot be written, before the work
    begins."""
    pocket, perplexity = Suite.POCKET in asked.suites, Suite.PERPLEXITY in asked.suites
    readers = {
        "text": ("--suite perplexity", perplexity),
        "skills": ("--suite pocket", pocket),
        "failures": ("--suite pocket", pocket),
        "max_tokens": ("--suite pocket", pocket),
        "items": ("--suite", bool(asked.suites)),
        "tasks_folder": ("--harness", bool(asked.tasks)),
        "limit": ("--harness", bool(asked.tasks)),
        "chat": ("--harness", bool(asked.tasks)),
    }
    for name, (reader, given) in readers.items():
        if getattr(asked, name) and not given:
            option = {"skills": "skill"}.get(name, name).replace("_", "-")
            raise UserError(f"--{option} belongs to {reader}", hint=f"add {reader}, or leave it out")
    if asked.skills:
        from gemwright.evals.pocket import skills

        if unknown := [name for name in asked.skills if name not in skills()]:
            raise UserError(f"there is no skill {unknown[0]!r}", hint=f"skills: {', '.join(skills())}")
    if save is not None and (probe(save).is_dir() or not save.absolute().parent.is_dir()):
        raise UserError(f"{save} cannot be written", hint="name a file in a folder that is there")


def _measure(lm: LM, asked: _Asked, loaded: dict[str, str | None]) -> dict[str, Any]:
    """All suites and tasks in turn; what changes from run to run stands apart, under `times`. `loaded`: how."""
    from gemwright.evals.recipe import recipe

    tree: dict[str, Any] = {"recipe": recipe(lm, **loaded) | {"seed": asked.seed}, "suites": {}, "times": {}}
    for name in asked.suites:
        began = time.perf_counter()
        measure = {Suite.POCKET: _pocket, Suite.PERPLEXITY: _perplexity, Suite.NEEDLE: _needle}[name]
        found = measure(lm, asked)
        tree["times"][name.value] = {"seconds": time.perf_counter() - began} | found.pop("times", {})
        tree["suites"][name.value] = found
    if asked.tasks:
        tree["harness"] = _harness(lm, asked)
    return tree


def _pocket(lm: LM, asked: _Asked) -> dict[str, Any]:
    from gemwright.evals import pocket
    from gemwright.evals.answers import SEQUENCES
    from gemwright.evals.recipe import sampling_facts

    count, most = asked.items or pocket.ITEMS, asked.max_tokens or pocket.MAX_TOKENS
    skills = asked.skills or pocket.skills(lm)
    with show.counting("answering", count * len(skills)) as told:
        found = pocket.pocket(
            lm, which=asked.skills, seed=asked.seed, count=count, max_tokens=most, failures=asked.failures, on_done=told
        )
    facts = {"items": count, "sequences": SEQUENCES, "sampling": sampling_facts(lm, pocket.sampling(most))}
    facts["tower"] = lm.eyes.tower.digest() if lm.eyes is not None and lm.eyes.loaded else None
    times = {"tokens_per_second": found.tokens / max(found.seconds, 1e-9)}
    return {"settings": facts} | found.to_json() | {"times": times}


def _perplexity(lm: LM, asked: _Asked) -> dict[str, Any]:
    from gemwright.evals import perplexity

    documents, before = perplexity.texts(asked.text)
    total = min(len(documents), asked.items or len(documents))
    with show.counting("reading", total) as told:
        found = perplexity.perplexity(lm, documents, before, seed=asked.seed, most=asked.items, on_done=told)
    source = [str(path) for path in asked.text] or "the Python standard library's held-out share"
    return {"settings": {"text": source, "items": asked.items, "window": lm.spec.context}} | found.to_json()


def _needle(lm: LM, asked: _Asked) -> dict[str, Any]:
    from gemwright.evals import needle
    from gemwright.evals.recipe import sampling_facts

    count = asked.items or needle.ITEMS
    questions, tokens = needle.work(lm, count)
    lengths = ", ".join(map(show.number, needle.lengths(lm)))
    show.note(
        f"{show.number(questions)} questions, {count} for each of {len(needle.DISTANCES)} distances in prompts of "
        f"{lengths} tokens: {show.number(tokens)} tokens to read"
    )
    with show.counting("tokens read", tokens) as told:
        found = needle.needle(lm, seed=asked.seed, count=count, on_done=told)
    facts = {"items": count, "sampling": sampling_facts(lm, needle.sampling(needle.MAX_TOKENS))}
    return {"settings": facts} | found.to_json()


def _harness(lm: LM, asked: _Asked) -> dict[str, Any]:
    from gemwright.evals.harness import evaluate

    found = evaluate(lm, asked.tasks, folder=asked.tasks_folder, limit=asked.limit, chat=asked.chat)
    return {"settings": {"tasks": list(asked.tasks), "limit": asked.limit, "chat": asked.chat}} | found


def _write(tree: dict[str, Any], path: Path) -> None:
    try:
        path.write_text(json_text.dumps(tree, ensure_ascii=False, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}", hint="choose another file") from error
