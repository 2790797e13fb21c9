import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from litotes.objectives.listwise.ar2 import Ar2
from litotes.training.order import rows_of_step
from litotes.training.retriever.ar2 import AdversarialRetriever
from litotes.training.retriever.game import Game, Pools, group_batch

ROWS, DOCUMENTS, POOL = 5, 12, 6
DRAW = torch.Generator().manual_seed(0)
QUERY, DOCUMENT = torch.randn(ROWS, 4, generator=DRAW), torch.randn(DOCUMENTS, 4, generator=DRAW)
SETTINGS = AdversarialRetriever(
    "r", pool=POOL, group=4, iterations=2, iteration_steps=5, ranker_steps=2, batch_size=3, lr_retriever=0.05,
    lr_ranker=0.02, warmup=0.0, eps=0.0,
)  # fmt: skip


class Two(nn.Module):
    """A bilinear scorer with dropout."""

    def __init__(self, seed, dropout=0.0):
        super().__init__()
        torch.manual_seed(seed)
        self.map, self.dropout = nn.Linear(4, 4), nn.Dropout(dropout)

    def forward(self, rows, documents):
        q = self.dropout(self.map(QUERY[torch.from_numpy(rows)]))
        return (q[:, None, :] * DOCUMENT[torch.from_numpy(documents)]).sum(2)


def play(dropout=0.0, chunk=None, settings=SETTINGS, belief=None):
    retriever, ranker = Two(0, dropout), Two(1, dropout)

    def search():
        with torch.no_grad():
            scores = retriever(np.arange(ROWS), np.tile(np.arange(DOCUMENTS), (ROWS, 1)))
        scores[:, :ROWS].fill_diagonal_(-torch.inf)  # document i answers query i
        documents = scores.topk(POOL, dim=1).indices
        return Pools(documents, torch.ones(documents.shape) if belief is None else belief)

    def positives(rows, epoch):
        return rows, np.ones(len(rows), np.float32)

    game = Game(settings, ROWS, positives, retriever, ranker, search, seed=7, chunk=chunk)
    return game, game.phases(*settings.learners(retriever, ranker))


def weights(game):
    both = {"g": game.retriever, "d": game.ranker}
    return {f"{k}.{n}": t.clone() for k, module in both.items() for n, t in module.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_game_is_its_steps_by_hand():
    game, phases = play()
    g, d = Two(0), Two(1)
    optimisers = {"g": torch.optim.AdamW(g.parameters(), 0.05, weight_decay=0.0)}
    optimisers["d"] = torch.optim.AdamW(d.parameters(), 0.02, weight_decay=0.0)
    own = {"g": (0, 6), "d": (0, 4)}  # steps taken, steps in all
    for step in range(10):
        phases.step()
        rows = torch.from_numpy(rows_of_step(step, 3, ROWS, 7)[0])
        seen = list(game.groups(_turn(step)))
        documents = torch.from_numpy(seen[0][1])
        drawn, _ = game.pools.draw(rows.numpy(), 3, _turn(step).generator)
        assert torch.equal(documents[:, 1:], drawn)
        assert torch.equal(documents[:, 0], rows)
        name = "d" if step % 5 < 2 else "g"
        of_d = d(rows.numpy(), documents.numpy())
        if name == "d":
            loss = F.cross_entropy(of_d, torch.zeros(3, dtype=torch.long))
        else:
            of_d = of_d.detach()
            log_p = g(rows.numpy(), documents.numpy()).log_softmax(1)
            r = F.logsigmoid(of_d[:, :1] - of_d)
            loss = 0.5 * (r * log_p).sum(1).mean() - 0.5 * (of_d.softmax(1) * log_p).sum(1).mean()
        optimisers[name].zero_grad()
        loss.backward()
        module = {"g": g, "d": d}[name]
        nn.utils.clip_grad_norm_(module.parameters(), 2.0)
        taken, total = own[name]
        optimisers[name].param_groups[0]["lr"] = {"g": 0.05, "d": 0.02}[name] * (total - taken) / total
        own[name] = taken + 1, total
        optimisers[name].step()
    for ours, twin in ((game.retriever, g), (game.ranker, d)):
        torch.testing.assert_close(ours.map.weight, twin.map.weight, rtol=1e-3, atol=1e-5)


def _turn(step):
    """The turn of a step, with the generator that the step had."""
    from litotes.training.phases import Turn, _mixed

    return Turn(step // 5, 0, step, torch.Generator().manual_seed(_mixed(7, step)))


def test_the_frozen_model_stays_bit_by_bit_and_at_rest_in_its_off_phase():
    game, phases = play(dropout=0.5)
    before = weights(game)
    phases.run(until=2)
    after = weights(game)
    assert all(torch.equal(before[n], after[n]) == n.startswith("g.") for n in before)
    assert not game.retriever.training and game.ranker.training
    phases.run(until=5)
    last = weights(game)
    assert all(torch.equal(last[n], after[n]) == n.startswith("d.") for n in before)
    assert not game.ranker.training and game.retriever.training
    assert all(p.grad is None for p in game.ranker.parameters())


@pytest.mark.parametrize("stop", [0, 1, 2, 4, 5, 8])
def test_a_game_goes_on_in_the_same_phase_with_the_same_pools(stop):
    whole, all_of_it = play(dropout=0.3)
    all_of_it.run()
    _, begun = play(dropout=0.3)
    begun.run(until=stop)
    state = begun.state_dict()
    assert (
        state["phase"]
        == ["refresh", "ranker", "retriever", None, "retriever", "refresh", None, None, "retriever"][stop]
    )
    game, rest = play(dropout=0.3)
    rest.load_state_dict(state)
    rest.run()
    assert same(weights(game), weights(whole)) and torch.equal(game.pools.documents, whole.pools.documents)


def test_pieces_give_the_batch():
    phases, pieces = play()[1], play(chunk=2)[1]
    first, second = phases.step(), pieces.step()
    assert first["ranker"].item() == pytest.approx(second["ranker"].item(), rel=1e-5)
    phases.run(until=2)
    pieces.run(until=2)
    first, second = phases.step(), pieces.step()
    assert first["retriever"].item() == pytest.approx(second["retriever"].item(), rel=1e-4)


def test_groups_are_drawn_from_what_is_believed_and_short_ones_are_padded():
    belief = torch.tensor([[1.0, 0.5, 0, 0, 0, 0], [0] * 6, [1.0] * 6, [0, 0, 1, 1, 0.25, 1], [1.0] * 6])
    pools = Pools(torch.arange(30).reshape(5, 6), belief)
    seen = {row: set() for row in range(5)}
    for seed in range(40):
        documents, weight = pools.draw(np.arange(5), 3, torch.Generator().manual_seed(seed))
        for row in range(5):
            there = documents[row][documents[row] >= 0].tolist()
            assert len(set(there)) == len(there) == min(3, int((belief[row] > 0).sum()))
            assert [belief.flatten()[i].item() for i in there] == weight[row][: len(there)].tolist()
            assert (weight[row][len(there) :] == 0).all()
            seen[row] |= set(there)
    assert seen == {row: {6 * row + i for i in range(6) if belief[row, i] > 0} for row in range(5)}
    assert pools.draw(np.arange(2), 9, torch.Generator())[0].shape == (2, 9)


def test_a_group_without_belief_has_no_candidate_there():
    batch = group_batch(torch.zeros(1, 3), torch.tensor([[1.0, 0.5, 0.0]]), torch.zeros(1, 3))
    assert batch.sign.tolist() == [[1, -1, 0]] and batch.weight.tolist() == [[1.0, 0.5, 0.0]]
    assert Ar2()(batch).isfinite()
    bare = play(belief=torch.zeros(ROWS, POOL))[1]
    assert bare.step()["ranker"].item() == 0.0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"ranker": ""}, "ranker must be the folder"),
        ({"pool": 0}, "pool must be a whole number >= 1, got 0"),
        ({"group": 1}, "group must be a whole number >= 2, got 1"),
        ({"ranker_steps": 2000}, "ranker_steps must be below iteration_steps"),
        ({"lr_ranker": 0.0}, "lr_ranker must be > 0"),
        ({"clip": math.nan}, "clip must be > 0"),
        ({"warmup": 1.0}, "warmup"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"precision": "fp8"}, "precision"),
        ({"vetters": [3]}, "vetters"),
        ({"chunk": 0}, "chunk"),
    ],
)
def test_gates(arguments, message):
    with pytest.raises(ValueError, match=f"AdversarialRetriever: {message}"):
        AdversarialRetriever(**({"ranker": "r"} | arguments))
    with pytest.raises(ValueError, match="Ar2: adv_weight"):
        AdversarialRetriever("r", adv_weight=2.0)
