"""transformers as a contestant: its own `generate`, greedy, with SDPA.

Speaks `gemwright.bench.protocol`, of which it takes the file from this checkout and nothing else of the package.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import transformers

from gemwright.bench.protocol import SHORT, prompt, serve


class Transformers:
    """A model of the folder's dtype. A batch has prompts of one length here: no padding, which spares it some work."""

    def __init__(self, path: str, threads: int, context: int, attention: str = "sdpa") -> None:
        torch.set_num_threads(threads)
        model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype="auto", attn_implementation=attention)
        self._model: Any = model.eval()
        self._vocab = self._model.get_input_embeddings().num_embeddings
        self.weights = sum(parameter.nbytes for parameter in self._model.parameters())  # a tied table comes once

    def _times(self, prompts: list[list[int]], drawn: int) -> list[float]:
        """The start, and when each token was there."""
        times = [time.perf_counter()]

        def note(ids: Any, scores: Any) -> Any:
            times.append(time.perf_counter())
            return scores

        ids = torch.tensor(prompts)
        with torch.inference_mode():
            self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=drawn,
                min_new_tokens=drawn,
                do_sample=False,
                logits_processor=[note],
            )
        return times

    def prefill(self, tokens: int, seed: int) -> float:
        start, first = self._times([prompt(tokens, self._vocab, seed)], 1)
        return first - start

    def decode(self, tokens: int, context: int, seed: int) -> float:
        times = self._times([prompt(context, self._vocab, seed)], tokens + 1)
        return times[tokens + 1] - times[1]

    def batch(self, tokens: int, sequences: int, seed: int) -> float:
        prompts = [prompt(SHORT, self._vocab, seed + at) for at in range(sequences)]
        times = self._times(prompts, tokens + 1)
        return times[tokens + 1] - times[1]


if __name__ == "__main__":
    serve(Transformers)
