"""Two processes with each other's candidates learn what one process with both batches learns."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from litotes.batch import SignedBatch, from_pairs
from litotes.chain import Chain
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.scoring import Cosine
from litotes.sources.cross_rank import CrossRank

SIZES = (2, 3)  # pairs on each process: they need not be equal


def inputs(rank):
    g = torch.Generator().manual_seed(rank)
    names = [torch.tensor([0, 1]), torch.tensor([2, 3, 4])][rank]
    documents = [torch.tensor([10, 11]), torch.tensor([12, 11, 14])][rank]  # 11 is on both
    count = SIZES[rank]
    return torch.randn(count, 5, generator=g), torch.randn(count, 5, generator=g), names, documents


def tower():
    torch.manual_seed(3)
    return nn.Linear(5, 4)


def batch_of(model, x, y, names, documents):
    return from_pairs(model(x), model(y), ids=(names, documents))


def on_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(tower())
    x, y, names, documents = inputs(rank)
    both = model(torch.cat([x, y]))  # one call: DDP synchronises once
    batch = from_pairs(both[: len(x)], both[len(x) :], ids=(names, documents))
    made = CrossRank()(batch)
    loss = Chain(CrossRank(), Cosine(), InfoNCE(0.5, average="sum"))(batch)
    loss.backward()
    found = {
        "loss": loss.item(),
        "gradient": model.module.weight.grad.tolist(),
        "sign": made.sign.tolist(),
        "ids": made.columns["id"].tolist(),
        "of": made.columns["of"].tolist(),
    }
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def test_values_and_gradients_are_those_of_one_process_with_all_candidates(tmp_path):
    workers = [subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]

    model = tower()
    x, y, names, documents = (torch.cat(parts) for parts in zip(inputs(0), inputs(1), strict=True))
    whole = Cosine()(batch_of(model, x, y, names, documents))
    objective = InfoNCE(0.5, average="sum")
    losses = [
        objective(SignedBatch(whole.scores[rows], whole.sign[rows], whole.weight[rows]))
        for rows in (slice(0, 2), slice(2, 5))
    ]
    assert [each["loss"] for each in seen] == pytest.approx([loss.item() for loss in losses], rel=1e-5)
    (sum(losses) / 2).backward()
    for each in seen:  # DDP averages over processes
        assert torch.allclose(torch.tensor(each["gradient"]), model.weight.grad, atol=1e-5)
    # document 11 is the positive of row 1 on both: silent for each other
    assert seen[0]["sign"] == [[1, -1, -1, -1, -1], [-1, 1, -1, 0, -1]]
    assert seen[1]["sign"] == [[1, -1, -1, -1, -1, 0], [-1, 1, -1, -1, 0, 0], [-1, -1, 1, -1, -1, 0]]  # 0: padding
    assert seen[0]["ids"] == [10, 11, 12, 11, 14] and seen[1]["ids"][:5] == [12, 11, 14, 10, 11]
    assert seen[0]["of"] == [0, 1, -1, -1, -1]


def test_alone_nothing_happens():
    batch = from_pairs(torch.eye(2), torch.eye(2))
    assert CrossRank()(batch) is batch


if __name__ == "__main__":
    on_rank(int(sys.argv[1]), Path(sys.argv[2]))
