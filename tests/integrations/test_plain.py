"""A chain as a plain module: the batch of the function it names, draws that can be repeated, parameters that train."""

import pytest
import torch
from torch import nn

from litotes.batch import Moment, from_classes, from_groups, from_labels, from_pairs, two_views
from litotes.chain import Chain
from litotes.integrations.plain import FORMS, Criterion
from litotes.objectives import InfoNCE, LearnedTemperature, MarginMSE, ScheduledTemperature, SoftTargetInfoNCE
from litotes.scoring import Cosine, Dot
from litotes.sources.mixed.mochi import MoCHi
from litotes.training.chains import gist_loss, normalized_softmax


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X, Y, N, LABELS = drawn(4, 6), drawn(4, 6, seed=1), drawn(4, 2, 6, seed=2), torch.tensor([0, 1, 0, 2])

CALLS = {
    "pairs": ((X, Y, N), from_pairs(X, Y, N)),
    "labels": ((X, LABELS), from_labels(X, LABELS)),
    "views": ((X, Y), two_views(X, Y)),
    "scores": ((X,), from_groups(X)),
}


@pytest.mark.parametrize("form", CALLS)
def test_it_is_the_chain_on_the_batch_of_that_function(form):
    inputs, batch = CALLS[form]
    assert Criterion(InfoNCE(0.1), form)(*inputs).item() == Chain(InfoNCE(0.1))(batch).item()


def test_every_form_is_tried_here():
    assert set(FORMS) == {*CALLS, "classes"}


def test_classes_bring_no_candidates():
    chain = normalized_softmax(3, 6, 0.1)
    criterion = Criterion(chain, "classes")
    assert criterion(X, LABELS).item() == chain(from_classes(X, LABELS)).item()
    assert [tuple(p.shape) for p in criterion.parameters()] == [(3, 6)]


def test_arguments_and_extras_reach_the_batch():
    weight = torch.rand(4, 12, generator=torch.Generator().manual_seed(3))
    ids = (torch.arange(4), torch.arange(12))
    criterion = Criterion(InfoNCE(0.1))
    want = Chain(InfoNCE(0.1))(from_pairs(X, Y, N, weight=weight, ids=ids, known=torch.tensor([[0, 1]])))
    assert criterion(X, Y, N, weight=weight, ids=ids, known=torch.tensor([[0, 1]])).item() == want.item()
    batch = Criterion(InfoNCE(), "labels").batch(X, LABELS, rows={"scale": torch.ones(4)})
    assert batch.rows["label"] is LABELS and batch.rows["scale"].tolist() == [1] * 4
    guided = Criterion(gist_loss())(X, Y, rows={"guide": Y}, columns={"guide": X})
    batch = from_pairs(X, Y)
    batch = batch.replace(rows={**batch.rows, "guide": Y}, columns={**batch.columns, "guide": X})
    assert guided.item() == gist_loss()(batch).item()
    teacher = drawn(4, 4, seed=5)
    distilled = Criterion(Chain(Dot(), MarginMSE()))(X, Y, pairs={"teacher": teacher})
    assert distilled.item() == Chain(Dot(), MarginMSE())(from_pairs(X, Y).replace(pairs={"teacher": teacher})).item()


def test_draws_follow_seed_and_step():
    chain = Chain(Cosine(), MoCHi(2, 3, 1), InfoNCE(0.2))
    one, other = Criterion(chain), Criterion(chain)
    seen = [one(X, Y, N).item() for _ in range(3)]
    assert len(set(seen)) == 3 and [other(X, Y, N).item() for _ in range(3)] == seen
    assert Criterion(chain, seed=1)(X, Y, N).item() not in seen
    assert other(X, Y, N, now=Moment(1, 0, 0.5)).item() == seen[1]
    other.now = Moment(2, 0, 0.5)
    assert other(X, Y, N).item() == seen[2]


def test_the_moment_reaches_the_parts():
    criterion = Criterion(InfoNCE(ScheduledTemperature(1.0, 0.1, "linear")))
    early, late = (criterion(X, Y, now=Moment(0, 0, share)).item() for share in (0.0, 1.0))
    assert early == Chain(InfoNCE(1.0))(from_pairs(X, Y)).item()
    assert late == pytest.approx(Chain(InfoNCE(0.1))(from_pairs(X, Y)).item(), rel=1e-6)
    with pytest.raises(ValueError, match="where training stands"):
        criterion(X, Y)


def test_it_trains_moves_and_saves_as_a_module():
    encoder, criterion = nn.Linear(6, 6), Criterion(InfoNCE(LearnedTemperature(0.1)))
    optimizer = torch.optim.Adam([*encoder.parameters(), *criterion.parameters()], 0.05)
    first = criterion(encoder(X), Y)
    for _ in range(30):
        optimizer.zero_grad()
        loss = criterion(encoder(X), Y)
        loss.backward()
        optimizer.step()
    assert loss.item() < first.item() / 2
    again = Criterion(InfoNCE(LearnedTemperature(0.1)))
    again.load_state_dict(criterion.state_dict())
    assert again(encoder(X), Y).item() == criterion(encoder(X), Y).item()
    assert criterion.double()(encoder(X).double(), Y.double()).dtype == torch.float64


def test_a_callable_makes_the_batch():
    def form(x, y, *, swapped=False):
        return from_pairs(y, x) if swapped else from_pairs(x, y)

    criterion = Criterion(SoftTargetInfoNCE(0.1), form)
    assert criterion(X, Y, swapped=True).item() == Chain(SoftTargetInfoNCE(0.1))(from_pairs(Y, X)).item()
    assert "form=form" in repr(criterion) and "form=pairs" in repr(Criterion(InfoNCE()))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="Criterion: form must be one of pairs, labels, classes, views, scores"):
        Criterion(InfoNCE(), "triples")
    with pytest.raises(ValueError, match="Chain: the last part must be an objective"):
        Criterion(Cosine())
