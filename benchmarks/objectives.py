"""Losses over a batch of vectors: litotes against sentence-transformers, same vectors, value and gradient.

The encoder is a table, so what is timed is the loss alone: forward and backward, in milliseconds a step and in peak
memory of the process. Both are whole processes, started in turn.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from _harness import finish, in_turn, machine, options, process, ratios, spread

SIZES = {"small": 256, "full": 1024}
RUNS = {"small": 2, "full": 3}
STEPS, WIDTH, GUIDE_WIDTH = 5, 384, 768
LOSSES = ("infonce", "gist")


def main() -> None:
    args = options(__doc__ or "")
    if args.worker:
        side, loss = args.worker.split("-")
        args.out.write_text(json.dumps(step(side, loss, args.size)))
        return
    size, me = SIZES[args.scale], str(Path(__file__).resolve())
    figures: dict[str, Any] = {"name": "objectives", "batch": size, "machine": machine(args.threads)}
    for loss in LOSSES:

        def worker(side: str, loss: str = loss) -> dict[str, Any]:
            return process([me, "--worker", f"{side}-{loss}", "--size", str(size)], args.threads)

        mine, peer = in_turn(lambda: worker("ours"), lambda: worker("theirs"), RUNS[args.scale])
        if abs(mine[0]["value"] - peer[0]["value"]) > 1e-5 * abs(peer[0]["value"]):
            raise RuntimeError(f"{loss}: the losses differ, {mine[0]['value']} and {peer[0]['value']}")
        figures[loss] = {
            "ours_ms": spread([run["ms"] for run in mine]),
            "theirs_ms": spread([run["ms"] for run in peer]),
            "speed_ratio": ratios([run["ms"] for run in peer], [run["ms"] for run in mine]),
            "memory_ratio": ratios([run["peak_mb"] for run in peer], [run["peak_mb"] for run in mine]),
        }
        speed, memory = figures[loss]["speed_ratio"]["median"], figures[loss]["memory_ratio"]["median"]
        ours, theirs = figures[loss]["ours_ms"]["median"], figures[loss]["theirs_ms"]["median"]
        print(f"{loss:8} B={size}: ours {ours:.1f} ms, theirs {theirs:.1f} ms: {speed:.2f} times as fast")
        print(f"{'':8} peak memory of the process, theirs over ours: {memory:.2f}")
    finish(figures, args.json)


def step(side: str, loss: str, size: int) -> dict[str, Any]:
    """Milliseconds of one forward and backward pass, the median of STEPS, and the value of the loss."""
    import statistics
    import warnings

    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerFast

    from litotes.integrations.sentence_transformers import Loss
    from litotes.objectives import InfoNCE
    from litotes.training.chains import gist_loss

    class Table(nn.Module):
        def __init__(self, width: int, seed: int, tokenizer: Any):
            super().__init__()
            random = torch.Generator().manual_seed(seed)
            weight = torch.randn(2 * size, width, generator=random)
            weight[size:] += 0.2 * weight[:size]
            self.weight = nn.Parameter(weight)
            self.tokenizer, self.max_seq_length = tokenizer, 8

        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            return {"sentence_embedding": self.weight[features["input_ids"][:, 0]]}

    from sentence_transformers.sentence_transformer import losses
    from tokenizers import Tokenizer, models

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    model, guide = Table(WIDTH, 0, tokenizer), Table(GUIDE_WIDTH, 1, tokenizer)
    makers: dict[str, Any] = {
        "ours-infonce": lambda: Loss(model, InfoNCE(0.05)),
        "theirs-infonce": lambda: losses.MultipleNegativesRankingLoss(model),
        "ours-gist": lambda: Loss(model, gist_loss(), guide=guide),
        "theirs-gist": lambda: losses.GISTEmbedLoss(model, guide),
    }
    objective = makers[f"{side}-{loss}"]()
    columns = [{"input_ids": torch.arange(size)[:, None]}, {"input_ids": torch.arange(size, 2 * size)[:, None]}]
    times, value = [], torch.zeros(())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(STEPS):
            model.weight.grad = None
            start = time.perf_counter()
            value = objective([dict(column) for column in columns], None)
            value.backward()
            times.append(1000 * (time.perf_counter() - start))
    return {"ms": statistics.median(times[1:]), "value": value.item()}


if __name__ == "__main__":
    main()
