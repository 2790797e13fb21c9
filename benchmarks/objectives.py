"""Losses over a batch of vectors: litotes against sentence-transformers, and what a part adds to a training step.

Peers: the encoder is a table, so what is timed is the loss alone, forward and backward, on the same vectors; whole
processes, started in turn. Parts: milliseconds of a chain with the part less those of the chain without it, each the
median of several, as a share of a training step of all-MiniLM-L6-v2 on texts of 32 tokens.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _harness import finish, in_turn, machine, noise, options, process, ratios, show_table, spread, table

SIZES = {"small": 256, "full": 1024}
PAIRS, TOKENS = 128, 32  # of the training step: anchors, and tokens of a text
RUNS = {"small": 1, "full": 3}
STEPS, WIDTH, GUIDE_WIDTH = 5, 384, 768
LOSSES = ("infonce", "gist")
GOAL = 0.05
MODEL = "all-MiniLM-L6-v2"


def main() -> None:
    args = options(__doc__ or "")
    if args.worker == "parts":
        args.out.write_text(json.dumps(parts(args.size)))
        return
    if args.worker:
        side, loss = args.worker.split("-")
        args.out.write_text(json.dumps(step(side, loss, args.size)))
        return
    size, me = SIZES[args.scale], str(Path(__file__).resolve())
    measured: dict[str, Any] = {}
    rows: list[list[Any]] = []
    for loss in LOSSES:

        def worker(side: str, loss: str = loss) -> dict[str, Any]:
            return process([me, "--worker", f"{side}-{loss}", "--size", str(size)], args.threads)

        mine, peer = in_turn(lambda: worker("ours"), lambda: worker("theirs"), RUNS[args.scale])
        if abs(mine[0]["value"] - peer[0]["value"]) > 1e-5 * abs(peer[0]["value"]):
            raise RuntimeError(f"{loss}: the losses differ, {mine[0]['value']} and {peer[0]['value']}")
        measured[loss] = {
            "speed_ratio": ratios([run["ms"] for run in peer], [run["ms"] for run in mine]),
            "memory_ratio": ratios([run["peak_mb"] for run in peer], [run["peak_mb"] for run in mine]),
        }
        rows.append([f"{loss}, {size} pairs", spread([run["ms"] for run in mine]), *measured[loss].values(), "-"])
    runs = [process([me, "--worker", "parts", "--size", str(PAIRS)], args.threads) for _ in range(RUNS[args.scale])]
    shares = {}
    for name in runs[0]["parts"]:
        shares[name] = spread([100 * run["parts"][name] / run["step"] for run in runs])
        rows.append([f"{name}, {PAIRS} pairs", spread([run["parts"][name] for run in runs]), "-", "-", shares[name]])
    above = [name for name, share in shares.items() if share["median"] > 100 * GOAL]
    figures: dict[str, Any] = {
        "name": "objectives",
        "title": "Losses, and what a part adds to a step",
        "task": f"Forward and backward over vectors of {WIDTH} dimensions; training steps of {MODEL} on {PAIRS} pairs "
        f"of texts of {TOKENS} tokens, in float32",
        "command": f"python benchmarks/objectives.py --scale {args.scale} --json benchmarks/results/objectives.json",
        "scale": args.scale,
        "machine": {**machine(args.threads), "noise": noise(args.threads)},
        "table": table(
            [
                "what",
                "milliseconds",
                "times as fast as sentence-transformers",
                "memory of sentence-transformers, ours = 1",
                "% of a training step",
            ],
            rows,
        ),
        "measured": {**measured, "step_ms": spread([run["step"] for run in runs]), "share_percent": shares},
        "notes": [
            f"A training step takes {statistics.median(run['step'] for run in runs):,.0f} ms; the goal is that a part "
            f"adds less than {100 * GOAL:.0f} % to it: "
            + (f"missed by {', '.join(above)}." if above else "all of these do."),
            "Where a part adds less than the spread of the machine the figure may be below 0.",
        ],
    }
    show_table(figures)
    finish(figures, args.json)


def parts(size: int) -> dict[str, Any]:
    """Milliseconds of a training step, and what each part adds to the loss of it."""
    import torch
    from sentence_transformers import SentenceTransformer

    from litotes import objectives
    from litotes.batch import from_pairs
    from litotes.chain import Chain
    from litotes.data.models import resolve_model
    from litotes.objectives.contrastive.progressive import ByDifficulty
    from litotes.scoring import Cosine
    from litotes.sources.memory.queue import FeatureQueue, FromQueue
    from litotes.sources.mixed.mochi import MoCHi
    from litotes.sources.same_side import SameSide
    from litotes.vetting.gist import Gist

    random = torch.Generator().manual_seed(0)
    x, y = (torch.randn(size, WIDTH, generator=random) for _ in range(2))
    y = y + x
    guide = {"guide": torch.randn(size, GUIDE_WIDTH, generator=random)}
    infonce = objectives.InfoNCE(0.05)
    queue = FeatureQueue(4096, WIDTH)
    queue.push(torch.randn(4096, WIDTH, generator=random))

    def chain(*made: Any) -> Callable[[], None]:
        whole = Chain(*made)

        def run() -> None:
            leaves = [x.clone().requires_grad_(), y.clone().requires_grad_()]
            batch = from_pairs(*leaves)
            if any(isinstance(part, Gist) for part in made):
                batch = batch.replace(rows={**batch.rows, **guide}, columns={**batch.columns, **guide})
            whole(batch, generator=torch.Generator().manual_seed(0)).backward()

        return run

    bare = chain(Cosine(), infonce)
    makers = {
        "Gist, given the guide's vectors": chain(Cosine(), Gist(), infonce),
        "SameSide": chain(SameSide(), Cosine(), infonce),
        "FromQueue, 4,096 entries": chain(FromQueue(queue), Cosine(), infonce),
        "MoCHi(64, 64, 16)": chain(Cosine(), MoCHi(64, 64, 16), infonce),
        "Symmetric": chain(Cosine(), objectives.Symmetric(infonce)),
        "Reweighted by difficulty": chain(Cosine(), objectives.Reweighted(infonce, ByDifficulty(schedule="constant"))),
        "DebiasedInfoNCE for InfoNCE": chain(Cosine(), objectives.DebiasedInfoNCE(hardness=1.0)),
        "SigmoidPairs for InfoNCE": chain(Cosine(), objectives.SigmoidPairs()),
        "SoftTargetInfoNCE for InfoNCE": chain(Cosine(), objectives.SoftTargetInfoNCE()),
        "Hinge for InfoNCE": chain(Cosine(), objectives.Hinge()),
    }
    added = {}
    for name, run in makers.items():
        with_part, without = [], []
        for _ in range(2 * STEPS):  # in turn: a machine that slows down slows both
            with_part.append(_milliseconds(run))
            without.append(_milliseconds(bare))
        added[name] = statistics.median(with_part[1:]) - statistics.median(without[1:])

    model = SentenceTransformer(resolve_model(MODEL), device="cpu").train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5)
    words = torch.randint(1000, 20000, (2 * size, TOKENS), generator=random)
    loss = Chain(Cosine(), infonce)

    def train() -> None:
        optimizer.zero_grad()
        features = {"input_ids": words, "attention_mask": torch.ones_like(words)}
        vectors = model(features)["sentence_embedding"]
        loss(from_pairs(vectors[:size], vectors[size:])).backward()
        optimizer.step()

    steps = [_milliseconds(train) for _ in range(3)]
    return {"parts": added, "step": statistics.median(steps[1:])}


def _milliseconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - start)


def step(side: str, loss: str, size: int) -> dict[str, Any]:
    """Milliseconds of one forward and backward pass, the median of STEPS, and the value of the loss."""
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
