"""Class vectors as candidates make the normalised softmax."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import from_classes, from_labels
from litotes.chain import Chain
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.scoring import Cosine
from litotes.sources.proxies import Proxies


def test_the_chain_is_cross_entropy_over_cosines():
    torch.manual_seed(0)
    x, y = torch.randn(6, 4, requires_grad=True), torch.tensor([0, 3, 3, 1, 4, 0])
    part = Proxies(5, 4)
    loss = Chain(part, Cosine(), InfoNCE(0.1))(from_classes(x, y))
    wanted = F.cross_entropy(F.normalize(x) @ F.normalize(part.vectors).T / 0.1, y)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    ours = torch.autograd.grad(loss, [x, part.vectors])
    theirs = torch.autograd.grad(wanted, [x, part.vectors])
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@given(st.lists(st.integers(-1, 19), min_size=1, max_size=8), st.integers(8, 20), st.integers(0, 5))
def test_a_draw_of_classes_holds_those_of_the_batch(labels, subsample, seed):
    y = torch.tensor(labels)
    part = Proxies(20, 3, subsample=subsample)
    made = part(from_classes(torch.randn(len(y), 3), y), generator=torch.Generator().manual_seed(seed))
    classes = made.columns["class"]
    assert len(classes) == subsample == len(set(classes.tolist()))
    assert set(labels) - {-1} <= set(classes.tolist())
    assert ((made.sign > 0) == (classes[None, :] == y[:, None])).all() and (made.sign != 0).all()
    assert torch.equal(made.candidates, part.vectors[classes])
    positive = made.rows["positive"]
    assert all((p == -1) if label < 0 else classes[p] == label for p, label in zip(positive, labels, strict=True))


def test_drawn_classes_are_drawn_evenly():
    part, g = Proxies(6, 2, subsample=3), torch.Generator().manual_seed(0)
    counts = torch.zeros(6)
    for _ in range(2000):
        made = part(from_classes(torch.zeros(1, 2), torch.tensor([2])), generator=g)
        counts += torch.bincount(made.columns["class"], minlength=6)
    assert counts[2] == 2000
    others = counts[[0, 1, 3, 4, 5]]
    assert others.sum() == 4000 and ((others - 800).square() / 800).sum() < 18.5  # chi-square, 4 degrees, 0.1 %


def test_they_join_pairs_of_a_batch_behind_them_and_leave_its_positives():
    x, y = torch.randn(3, 2), torch.tensor([1, 0, 1])
    batch = from_labels(x, y).replace(rows={"label": y, "positive": torch.tensor([2, -1, 0])})
    made = Proxies(2, 2)(batch)
    assert made.sign.tolist() == [[0, -1, 1, -1, 1], [-1, 0, -1, 1, -1], [1, -1, 0, -1, 1]]
    assert made.columns["class"].tolist() == [-1, -1, -1, 0, 1]
    assert made.rows["positive"].tolist() == [2, -1, 0]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Proxies(1, 2), "num_classes must be a whole number >= 2, got 1"),
        (lambda: Proxies(5, 2, subsample=6), r"subsample must be in \[2, 5\] or None, got 6"),
        (lambda: Proxies(5, 2)(from_labels(torch.eye(2), torch.tensor([0, 1]))), 'rows\\["label"\\]'),
        (lambda: Proxies(5, 2, subsample=2)(from_classes(torch.eye(2), torch.tensor([0, 1]))), "needs a generator"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
