"""`gemwright generate`: go on from a prompt."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemwright.cli import options, show
from gemwright.cli.chat import answers
from gemwright.errors import UserError

if TYPE_CHECKING:
    from gemwright.engine.pictures import Shown
    from gemwright.engine.request import Completion, Sampling
    from gemwright.lm import LM


def run(
    prompt: Annotated[str, typer.Argument(help="The text to go on from; - reads it from stdin.", show_default=False)],
    model: options.ModelOption = "pocket",
    max_tokens: options.MaxTokens = 128,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    repetition_penalty: options.Penalty = None,
    seed: options.Seed = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="A string that ends the text; may be given again.", show_default=False)
    ] = None,
    logprobs: Annotated[
        int | None, typer.Option(min=0, help="With --json: log-probabilities of each token and its N likeliest rivals.")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt as a chat does, and print the reply.")] = False,
    image: options.Images = None,
    pan_scan: options.PanScan = False,
    context: options.Context = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quant: options.Quant = None,
    int8_cache: options.Int8Cache = False,
    adapter: options.NamedAdapter = None,
    speculate: options.Speculate = "auto",
    draft: options.DraftModel = None,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Go on from a prompt.

    The text appears as it is drawn. Pictures come before the prompt, or where it says <start_of_image>.

    Example: [bold]gemwright generate --chat "What is 47 + 38?" --temperature 0[/bold]
    """
    if logprobs is not None and not json:
        raise UserError("log-probabilities have no place in running text", hint="add --json")
    chosen = options.sampling(
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        stop=stop,
        logprobs=logprobs,
    )
    text = options.read_stdin() if prompt == "-" else prompt
    inside, named, name = options.read_adapter(adapter)
    lm = options.load(model, device, dtype, threads, context, quant, inside, int8_cache, speculate, draft, named)
    if not chat and lm.folder is not None and lm.tokenizer is not None and answers(lm.folder, lm.tokenizer):
        show.note("this model was tuned on conversations: --chat puts the prompt as a chat does")
    shown = _look(lm, image or [], pan_scan)
    draw = partial(_draw, lm, text, chosen, shown, name, chat)
    if json:
        tree = _tree(draw(), lm, text, shown)
        show.as_json(tree | ({"adapter": name} if name is not None else {}))
    else:
        _stream(lm, None if chat else text, draw)


def _draw(
    lm: LM,
    text: str,
    chosen: Sampling,
    shown: list[Shown],
    adapter: str | None,
    chat: bool,
    on_text: Callable[[str], object] = lambda text: None,
) -> Completion:
    """What comes after the text, or, in a chat, what is said to it; `on_text` gets each new part of it."""
    if chat:
        return lm.chat(sampling=chosen, adapter=adapter).say(text, on_text, images=shown)
    completion = None
    for event in lm.engine.stream(lm.request(text, chosen, images=shown, adapter=adapter)):
        on_text(event.text)
        completion = event.completion
    assert completion is not None, "the last event holds it"
    return completion


def _look(lm: LM, files: list[Path], pan_scan: bool) -> list[Shown]:
    from gemwright.cli.picture_view import look

    if pan_scan and not files:
        raise UserError("there is no picture to cut into crops", hint="add --image FILE, or leave out --pan-scan")
    return look(lm.engine.eyes, files, pan_scan) if files else []


def _stream(lm: LM, before: str | None, draw: Callable[[Callable[[str], object]], Completion]) -> None:
    """Shows what is drawn as it comes, on a terminal behind what it goes on from."""
    if show.is_terminal() and before is not None:
        show.console().print(before, style="dim", end="", markup=False, soft_wrap=True)
    completion = draw(show.stream)
    show.stream("\n")
    if show.is_terminal():
        usage = completion.usage
        guessed = f"{usage.accepted} of {usage.proposed} guesses true; " if usage.proposed else ""
        show.dim(
            f"{usage.completion} tokens, {usage.decode_speed:.1f} tokens/s; {guessed}prompt {usage.prompt} tokens, "
            f"{usage.prefill_speed:.0f} tokens/s; seed {completion.seed}"
        )


def _tree(completion: Completion, lm: LM, text: str, shown: list[Shown]) -> dict[str, Any]:
    usage = completion.usage
    tree: dict[str, Any] = {
        "model": lm.spec.name,
        "prompt": text,
        "text": completion.text,
        "ids": list(completion.ids),
        "finish_reason": completion.finish_reason,
        "seed": completion.seed,
        "usage": {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "prefill_tokens_per_second": usage.prefill_speed,
            "decode_tokens_per_second": usage.decode_speed,
            "proposed_tokens": usage.proposed,
            "accepted_tokens": usage.accepted,
        },
    }
    if shown:
        tree["images"] = [
            {"name": one.name, "width": one.width, "height": one.height, "crops": len(one.views) - 1}
            | {"sha256": one.sha256}
            for one in shown
        ]
    if completion.logprobs is not None:
        tree["logprobs"] = [
            {
                "id": token.id,
                "piece": _piece(lm, token.id),
                "logprob": token.logprob,
                "top": [{"id": id, "piece": _piece(lm, id), "logprob": value} for id, value in token.top],
            }
            for token in completion.logprobs
        ]
    return tree


def _piece(lm: LM, id: int) -> str | None:
    """A token's piece; rows of the table beyond the vocabulary have none."""
    known = lm.tokenizer is not None and id < lm.tokenizer.vocab_size
    return lm.tokenizer.piece(id) if known and lm.tokenizer is not None else None
