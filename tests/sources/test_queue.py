"""A queue holds the last features that were pushed, and copies of a positive in it are silent."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import from_pairs
from litotes.chain import Chain
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.scoring import Dot
from litotes.sources.memory.queue import FeatureQueue, FromQueue


@given(st.integers(1, 6), st.lists(st.integers(0, 9), max_size=6))
def test_it_holds_the_last_features_with_their_ids(size, pushes):
    queue, seen = FeatureQueue(size, 2), []
    for count in pushes:
        names = torch.arange(len(seen), len(seen) + count)
        queue.push(torch.stack([names, -names], dim=1).double(), names)
        seen += names.tolist()
    held = queue.ids[queue.filled]
    assert sorted(held.tolist()) == seen[-size:]
    assert torch.equal(queue.features[queue.filled], torch.stack([held, -held], dim=1).float())
    assert int(queue.filled.sum()) == min(len(seen), size)


def test_pushing_neither_keeps_a_graph_nor_changes_what_a_step_read():
    queue = FeatureQueue(2, 2)
    queue.push(torch.eye(2))
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    loss = Chain(FromQueue(queue), Dot(), InfoNCE(1.0))(from_pairs(x, torch.ones(1, 2)))
    queue.push(x)
    assert not queue.features.requires_grad
    loss.backward()  # a change in place would be an error here
    # d/dx of log(1 + sum_n e^(x.n - x.p)) with the queue as it was
    share = torch.softmax(torch.tensor([3.0, 1.0, 2.0]), 0)
    wanted = share[1] * (torch.eye(2)[0] - 1) + share[2] * (torch.eye(2)[1] - 1)
    assert x.grad[0].tolist() == pytest.approx(wanted.tolist())


def test_empty_places_and_copies_of_the_positive_are_not_there():
    queue = FeatureQueue(4, 2)
    queue.push(torch.randn(3, 2), torch.tensor([5, 6, -1]))
    pairs = from_pairs(torch.randn(2, 2), torch.randn(2, 2), ids=(torch.tensor([0, 1]), torch.tensor([5, 9])))
    made = FromQueue(queue)(pairs)
    assert made.sign[:, 2:].tolist() == [[0, -1, -1, 0], [-1, -1, -1, 0]]
    assert made.columns["id"].tolist() == [5, 9, 5, 6, -1, -1]
    nameless = FromQueue(queue)(from_pairs(torch.randn(2, 2), torch.randn(2, 2)))
    assert nameless.sign[:, 2:].tolist() == [[-1, -1, -1, 0]] * 2


def test_a_checkpoint_goes_on_where_the_queue_was():
    queue = FeatureQueue(5, 1)
    queue.push(torch.arange(7.0)[:, None])
    other = FeatureQueue(5, 1)
    other.load_state_dict(copy.deepcopy(queue.state_dict()))
    for each in (queue, other):
        each.push(torch.tensor([[9.0]]))
    assert torch.equal(queue.features, other.features) and sorted(queue.features[:, 0].tolist()) == [3, 4, 5, 6, 9]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: FeatureQueue(0, 2), "size must be a whole number >= 1, got 0"),
        (lambda: FeatureQueue(2, 2).push(torch.zeros(1, 3)), r"features must be \[N, 2\], got \[1, 3\]"),
        (lambda: FeatureQueue(2, 2).push(torch.zeros(1, 2), torch.zeros(2)), r"ids must be \[1\], got \[2\]"),
        (lambda: FromQueue(FeatureQueue(2, 3))(from_pairs(torch.eye(2), torch.eye(2))), "width of the queue, 3, got 2"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
