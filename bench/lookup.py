"""Decoding with prompt lookup beside plain decoding, where an answer repeats its prompt and where it does not.

    python bench/lookup.py [--model pocket] [--rounds 5] [--threads 2]

The embedded model has learnt to say a text again; sums are the task in which little comes again. Both ways take turns,
over the same questions, greedily; times are those of decoding, medians of the rounds. The texts must be the same.
"""

from __future__ import annotations

import argparse
import random
import statistics

import torch

import gemwright as gw
from gemwright.engine.chat import Chat
from gemwright.engine.request import Completion
from gemwright.tasks.words import NOUNS

QUESTIONS = 8
ASK = gw.Sampling(temperature=0, max_tokens=256)


def questions() -> dict[str, list[str]]:
    """The questions of each task."""
    draw = random.Random("lookup")
    rows = [" ".join(draw.choices(NOUNS, k=50)) for _ in range(QUESTIONS)]
    sums = [f"What is {draw.randrange(1000, 10000)} + {draw.randrange(1000, 10000)}?" for _ in range(QUESTIONS)]
    return {"say again": [f"Repeat: {row}" for row in rows], "sums": sums}


def answers(lm: gw.LM, asked: list[str]) -> list[Completion]:
    """One after the other, each in a conversation of its own."""
    return [Chat(lm.engine, sampling=ASK).say(text) for text in asked]


def main() -> None:
    """Prints a line for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    contestants = {how: gw.load(given.model, speculate=how, sequences=1) for how in ("off", "lookup")}
    for task, asked in questions().items():
        seconds: dict[str, list[float]] = {how: [] for how in contestants}
        said: dict[str, list[Completion]] = {}
        for number in range(given.rounds + 1):
            for how, lm in contestants.items():
                said[how] = answers(lm, asked)
                if number:  # the first round is for warmth
                    seconds[how].append(sum(each.usage.decode_seconds for each in said[how]))
        assert [each.ids for each in said["off"]] == [each.ids for each in said["lookup"]], "the texts differ"
        plain, looked = (statistics.median(seconds[how]) for how in ("off", "lookup"))
        tokens = sum(each.usage.completion for each in said["off"])
        proposed, accepted = (
            sum(getattr(each.usage, kind) for each in said["lookup"]) for kind in ("proposed", "accepted")
        )
        print(
            f"{task}: {tokens} tokens, plain {tokens / plain:.0f} tokens/s, lookup {tokens / looked:.0f} "
            f"({plain / looked:.2f} ×), {accepted} of {proposed} guesses accepted"
        )


if __name__ == "__main__":
    main()
