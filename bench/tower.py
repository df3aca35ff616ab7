"""Pictures a second through SigLIP at its true geometry, beside transformers: one process, contestants in turn.

    python bench/tower.py [--rounds 3] [--threads 2]

Weights are random and equal in kind (bfloat16 products); a picture is 896 by 896 pixels, 4,096 patches, 27 layers.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import SiglipVisionConfig, SiglipVisionModel

from gemwright.arch import gemma3
from gemwright.nn.siglip import Siglip

SIGLIP = gemma3.SIGLIP.tower


def ours() -> Callable[[torch.Tensor], torch.Tensor]:
    """The encoder with small random weights."""
    torch.manual_seed(1)
    tower = Siglip(SIGLIP).to(torch.bfloat16)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.normal_(0.0, 0.02)
    return tower.eval()


def theirs() -> Callable[[torch.Tensor], torch.Tensor]:
    """transformers' encoder of the same shape, with its fastest attention here."""
    torch.manual_seed(1)
    config = SiglipVisionConfig(
        hidden_size=SIGLIP.width,
        intermediate_size=SIGLIP.hidden,
        num_hidden_layers=SIGLIP.depth,
        num_attention_heads=SIGLIP.heads,
        image_size=SIGLIP.image,
        patch_size=SIGLIP.patch,
        vision_use_head=False,
        attn_implementation="sdpa",
    )
    model = SiglipVisionModel(config).to(torch.bfloat16).eval()
    return lambda pixels: model(pixel_values=pixels.bfloat16()).last_hidden_state


def main() -> None:
    """Alternates, and prints medians and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    pixels = torch.rand(1, 3, SIGLIP.image, SIGLIP.image) * 2 - 1
    contestants = {"gemwright": ours(), "transformers": theirs()}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    with torch.inference_mode():
        for run in contestants.values():
            run(pixels)  # warm
        for _ in range(given.rounds):
            for name, run in contestants.items():
                begin = time.perf_counter()
                run(pixels)
                seconds[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, taken in seconds.items():
        print(f"{name}: {medians[name]:.2f} s a picture (of {', '.join(f'{one:.2f}' for one in taken)})")
    print(f"ratio: {medians['transformers'] / medians['gemwright']:.2f}")


if __name__ == "__main__":
    main()
