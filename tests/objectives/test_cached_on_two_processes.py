"""Cached on two processes: gradients meet once a step, and are those of one process without caching."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from litotes.batch import from_pairs
from litotes.chain import Chain
from litotes.objectives import Cached, InfoNCE, LearnedTemperature
from litotes.scoring import Cosine
from litotes.sources.cross_rank import CrossRank

SIZES, STEPS = (5, 7), 3  # pairs on each process


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4))

    def forward(self, features):
        return self.layers(features)


def inputs(rank, step):
    g = torch.Generator().manual_seed(10 * step + rank)
    names = torch.arange(SIZES[rank]) + 100 * rank
    return [torch.randn(SIZES[rank], 5, generator=g) for _ in range(2)], names


def on_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = {"reduced": [], "gradients": []}
    model, calls = nn.parallel.DistributedDataParallel(Tower()), []

    def hook(state, bucket):
        calls.append(bucket.index())
        summed = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
        return summed.then(lambda done: done.value()[0] / 2)

    model.register_comm_hook(None, hook)
    part = Cached(Chain(CrossRank(), Cosine(), InfoNCE(LearnedTemperature(0.5))), 2)
    for step in range(STEPS):
        calls.clear()
        model.zero_grad()
        columns, names = inputs(rank, step)

        def form(features, names=names):
            return from_pairs(*features, ids=(names, names))

        part(model, columns, form, model=model).backward()
        found["reduced"].append(len(calls))
        found["gradients"].append([p.grad.flatten().tolist() for p in model.module.parameters()])
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.mark.slow
def test_gradients_are_reduced_once_a_step_and_are_those_of_one_process_without_caching(tmp_path):
    workers = [subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]

    assert [each["reduced"] for each in seen] == [[1] * STEPS] * 2
    objective = InfoNCE(0.5)
    for step in range(STEPS):
        model = Tower()
        both = [inputs(rank, step) for rank in range(2)]
        x, y = (torch.cat([both[rank][0][side] for rank in range(2)]) for side in range(2))
        names = torch.cat([names for _, names in both])
        vectors = [model(side) for side in (x, y)]
        whole = Cosine()(from_pairs(*vectors, ids=(names, names)))
        rows = (slice(0, SIZES[0]), slice(SIZES[0], sum(SIZES)))
        loss = sum(
            objective(
                whole.replace(
                    scores=whole.scores[r],
                    sign=whole.sign[r],
                    weight=whole.weight[r],
                    anchors=whole.anchors[r],
                    rows={},
                )
            )
            for r in rows
        )
        (loss / 2).backward()  # DistributedDataParallel averages over processes
        for rank in range(2):
            for got, parameter in zip(seen[rank]["gradients"][step], model.parameters(), strict=True):
                assert torch.tensor(got) == pytest.approx(parameter.grad.flatten(), rel=1e-4, abs=1e-6)


if __name__ == "__main__":
    on_rank(int(sys.argv[1]), Path(sys.argv[2]))
