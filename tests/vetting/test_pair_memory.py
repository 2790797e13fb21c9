"""A memory of losses flags both tails, and its belief shrinks a step without stopping it."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import two_views
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.reweighted import Reweighted
from litotes.scoring import Cosine
from litotes.vetting.pair_memory import PairMemory

INDEX = torch.arange(5)
MEANS = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])


def filled(transform="pdf", **options):
    memory = PairMemory(5, **({"warm": 1, "noisy_at": 1.0, "faulty_at": 1.0} | options), transform=transform)
    memory.record(INDEX, MEANS)
    return memory


def test_flags_and_beliefs_by_hand():
    memory = filled()
    report = memory.start_epoch(1)
    assert report.mean == pytest.approx(3) and report.deviation == pytest.approx(1.414214, abs=1e-6)
    assert memory.flag.tolist() == [-1, 0, 0, 0, 1] and (report.noisy, report.faulty) == (1, 1)
    assert memory.belief(INDEX, MEANS).tolist() == pytest.approx([0.103777, 1, 1, 1, 0.103777], abs=1e-6)
    bounded = filled("bounded")
    bounded.start_epoch(1)
    assert bounded.belief(INDEX, MEANS).tolist() == pytest.approx([0.367879, 1, 1, 1, 0.367879], abs=1e-6)
    dropping = filled("drop")
    dropping.start_epoch(1)
    assert dropping.belief(INDEX, MEANS).tolist() == [0, 1, 1, 1, 0]
    assert memory.belief(INDEX[:1], torch.tensor([3.0])).item() == pytest.approx(min(1, 0.398942 / 1.414214), abs=1e-6)


def test_a_dense_tail_is_believed_at_most_fully():
    memory = PairMemory(5, 1, 1.0, 1.0)
    memory.record(INDEX, 3 + (MEANS - 3) / 100)
    memory.start_epoch(1)
    assert memory.flag.tolist() == [-1, 0, 0, 0, 1]
    assert memory.belief(INDEX[:1], torch.tensor([3.0])).item() == 1  # the density is 28 there


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 32)), max_size=30), st.floats(0.5, 3), st.floats(0.5, 3))
def test_flags_are_those_of_the_definition_and_unseen_pairs_have_none(records, low, high):
    memory = PairMemory(5, 1, low, high)
    for i, loss in records:
        memory.record(torch.tensor([i]), torch.tensor([loss / 8]))
    memory.start_epoch(1)
    means = {i: [v / 8 for j, v in records if j == i] for i in range(5)}
    means = {i: sum(v) / len(v) for i, v in means.items() if v}
    mean = sum(means.values()) / max(len(means), 1)
    deviation = math.sqrt(sum((m - mean) ** 2 for m in means.values()) / max(len(means), 1))
    for i in range(5):
        flag = memory.flag[i].item()
        if i not in means or deviation < 1e-9:
            assert flag == 0
        elif abs(abs(means[i] - mean) - (low if means[i] < mean else high) * deviation) > 1e-6:
            assert flag == (means[i] >= mean + high * deviation) - (means[i] <= mean - low * deviation)


def test_flags_change_in_start_epoch_only_and_warm_up_is_plain():
    memory = filled(warm=2)
    memory.start_epoch(1)
    assert (memory.flag == 0).all()
    memory.record(INDEX, MEANS)
    assert (memory.flag == 0).all()
    memory.start_epoch(2)
    assert memory.flag.tolist() == [-1, 0, 0, 0, 1]
    silent = filled(noisy_at=math.inf, faulty_at=math.inf)
    silent.start_epoch(1)
    assert (silent.belief(INDEX, MEANS) == 1).all()
    level = PairMemory(5, 1)
    level.record(INDEX, torch.ones(5))
    assert level.start_epoch(1).noisy == 0 and (level.flag == 0).all()


def test_a_pair_that_comes_twice_counts_twice_and_a_checkpoint_flags_alike():
    memory = filled()
    memory.record(torch.tensor([0, 0]), torch.tensor([4.0, 4.0]))
    assert memory.count.tolist() == [3, 1, 1, 1, 1] and memory.total[0].item() == 9
    other = PairMemory(5, 1, 1.0, 1.0)
    other.load_state_dict(copy.deepcopy(memory.state_dict()))
    assert memory.start_epoch(1) == other.start_epoch(1) and torch.equal(memory.flag, other.flag)


def test_the_loss_is_the_mean_over_all_pairs_of_believed_costs():
    torch.manual_seed(0)
    u, v = torch.randn(5, 8, requires_grad=True), torch.randn(5, 8)
    batch = Cosine()(two_views(u, v))
    batch = batch.replace(rows={**batch.rows, "id": INDEX.repeat(2)})
    memory = filled()
    plain = InfoNCE(0.2)
    loss = Reweighted(plain, memory, average="count")
    assert loss(batch).item() == pytest.approx(plain(batch).item(), rel=1e-6)
    memory.start_epoch(1)
    cost, _ = plain.per_anchor(batch)
    pairs = (cost[:5] + cost[5:]) / 2
    wanted = (memory.belief(INDEX, pairs.detach()) * pairs).mean()
    assert loss(batch).item() == pytest.approx(wanted.item(), rel=1e-5)
    ours, theirs = torch.autograd.grad(loss(batch), u, retain_graph=True), torch.autograd.grad(wanted, u)
    assert torch.allclose(ours[0], theirs[0], atol=1e-6)
    assert memory.pair_means(cost, batch.rows["id"]).tolist() == pytest.approx(pairs.repeat(2).tolist())


def test_two_equal_views_by_hand():
    batch = Cosine()(two_views(torch.eye(2), torch.eye(2)))
    assert InfoNCE(1.0).per_anchor(batch)[0].tolist() == pytest.approx([0.551445] * 4, abs=1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: PairMemory(0), "pairs must be a whole number >= 1, got 0"),
        (lambda: PairMemory(5, noisy_at=0), "noisy_at must be > 0, got 0"),
        (lambda: PairMemory(5, transform="cut"), "transform must be 'pdf', 'bounded' or 'drop', got 'cut'"),
        (lambda: PairMemory(5).record(torch.tensor([3]), torch.tensor([math.nan])), "a loss of nan for pair 3"),
        (lambda: PairMemory(5).record(torch.tensor([5]), torch.tensor([1.0])), "pair 5, expected .* pairs 0 to 4"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
