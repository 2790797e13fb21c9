"""Chains as losses and miners of pytorch-metric-learning, beside the losses and miners of that library itself."""

import math

import pytest
import torch

pml = pytest.importorskip("pytorch_metric_learning")
from pytorch_metric_learning import distances, losses, miners, reducers, regularizers  # noqa: E402

from litotes.batch import Moment, two_views  # noqa: E402
from litotes.chain import Chain  # noqa: E402
from litotes.integrations.plain import Criterion  # noqa: E402
from litotes.integrations.pytorch_metric_learning import Loss, Miner  # noqa: E402
from litotes.objectives import (  # noqa: E402
    Hinge,
    InfoNCE,
    Only,
    SigmoidPairs,
    SoftTargetInfoNCE,
)
from litotes.objectives.contrastive.norm_ratio import NormRatio  # noqa: E402
from litotes.scoring import Cosine, Dot, NegL2  # noqa: E402
from litotes.sources.mixed.mochi import MoCHi  # noqa: E402
from litotes.sources.soft.continuous import ContinuousWeight  # noqa: E402
from litotes.training.chains import normalized_softmax, unpg  # noqa: E402
from litotes.vetting.gist import Gist  # noqa: E402

LABELS = torch.tensor([0, 0, 1, 1, 1, 2, 3, 3])  # class 2 has one member: a row without a positive
REFERENCE = torch.tensor([0, 1, 3, 3, 4])


def vectors(n, seed, dtype=torch.float64):
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def both(ours, theirs, *rest, ref=None, **named):
    """Value and gradients of the two losses on the same vectors."""
    found = []
    for loss in (ours, theirs):
        x = vectors(len(LABELS), 0).requires_grad_()
        y = None if ref is None else vectors(ref, 1).requires_grad_()
        value = loss(x, *rest, **({} if y is None else {"ref_emb": y}), **named)
        value.backward()
        found.append((value.item(), [x.grad] + ([] if y is None else [y.grad])))
    (mine, my_slopes), (peer, peer_slopes) = found
    assert mine == pytest.approx(peer, rel=1e-10) and mine > 0
    for mine, peer in zip(my_slopes, peer_slopes, strict=True):
        assert torch.allclose(mine, peer, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_infonce_is_ntxent(temperature):
    both(Loss(InfoNCE(temperature)), losses.NTXentLoss(temperature), LABELS)


def test_infonce_is_ntxent_against_a_reference_set():
    both(Loss(InfoNCE(0.2)), losses.NTXentLoss(0.2), LABELS, ref=len(REFERENCE), ref_labels=REFERENCE)


def test_infonce_is_ntxent_on_the_pairs_of_a_miner_of_theirs():
    mined = miners.MultiSimilarityMiner(0.1)(vectors(8, 0), LABELS)
    assert 0 < len(mined[3]) < 8 * 8 - (LABELS[:, None] == LABELS).sum()
    both(Loss(InfoNCE(0.2)), losses.NTXentLoss(0.2), LABELS, mined)


def test_soft_target_infonce_without_a_target_is_supcon():
    both(Loss(SoftTargetInfoNCE(0.1)), losses.SupConLoss(0.1), LABELS)
    mined = miners.MultiSimilarityMiner(0.5)(vectors(8, 0), LABELS)
    both(Loss(SoftTargetInfoNCE(0.1)), losses.SupConLoss(0.1), LABELS, mined)


def test_the_hinge_is_the_triplet_margin():
    peer = losses.TripletMarginLoss(0.3, distance=distances.CosineSimilarity(), reducer=reducers.MeanReducer())
    both(Loss(Hinge(0.3)), peer, LABELS)
    peer = losses.TripletMarginLoss(
        0.3, distance=distances.LpDistance(normalize_embeddings=False), reducer=reducers.MeanReducer()
    )
    both(Loss(Chain(NegL2(squared=False), Hinge(0.3))), peer, LABELS)


def test_triplets_of_a_miner_are_read():
    triplets = tuple(torch.tensor(part) for part in ([0, 2, 7], [1, 3, 6], [5, 0, 2]))
    mean = reducers.MeanReducer()
    peer = losses.TripletMarginLoss(0.9, distance=distances.CosineSimilarity(), reducer=mean)
    both(Loss(Hinge(0.9)), peer, LABELS, triplets)  # one triplet a row: no other pair is formed
    both(Loss(InfoNCE(0.2)), losses.NTXentLoss(0.2), None, triplets)  # without labels


def test_proxies_are_the_normalised_softmax():
    chain = normalized_softmax(4, 6, 0.1)
    peer = losses.NormalizedSoftmaxLoss(4, 6, temperature=0.1).double()
    chain = chain.double()
    with torch.no_grad():
        peer.W.copy_(chain.parts[0].vectors.T)
    both(Loss(chain, pairs=False), peer, LABELS)
    assert torch.allclose(chain.parts[0].vectors.grad, peer.W.grad.T, rtol=1e-8)


def test_proxies_with_a_margin_are_arcface_and_cosface():
    for head, kind, margin, degrees in (
        ("angular", losses.ArcFaceLoss, 0.5, math.degrees(0.5)),
        ("additive", losses.CosFaceLoss, 0.35, 0.35),
    ):
        chain = unpg(4, 6, head, 1 / 16, margin).double()
        proxies, scorer = chain.parts[0], chain.parts[2]
        chain = Chain(proxies, scorer, InfoNCE(1 / 16))  # without the pairs of the batch
        peer = kind(4, 6, margin=degrees, scale=16).double()
        with torch.no_grad():
            peer.W.copy_(proxies.vectors.T)
        both(Loss(chain, pairs=False), peer, LABELS)


def test_views_are_the_self_supervised_loss():
    u, v = vectors(5, 0), vectors(5, 1)
    peer = losses.SelfSupervisedLoss(losses.NTXentLoss(0.3))(u, v)
    assert Criterion(InfoNCE(0.3), "views")(u, v).item() == pytest.approx(peer.item(), rel=1e-10)
    assert Loss(InfoNCE(0.3))(torch.cat([u, v]), torch.arange(5).repeat(2)).item() == pytest.approx(peer.item())
    assert two_views(u, v).sign.shape == (10, 10)


def test_what_surrounds_a_loss_of_theirs_surrounds_ours():
    x, settings = vectors(8, 0), {"embedding_regularizer": regularizers.LpRegularizer(), "embedding_reg_weight": 0.5}
    ours, theirs = Loss(InfoNCE(0.2), **settings), losses.NTXentLoss(0.2, **settings)
    assert ours(x, LABELS).item() == pytest.approx(theirs(x, LABELS).item(), rel=1e-10)
    pair = losses.MultipleLosses([Loss(InfoNCE(0.2)), losses.SupConLoss()], weights=[2.0, 1.0])
    want = 2 * losses.NTXentLoss(0.2)(x, LABELS) + losses.SupConLoss()(x, LABELS)
    assert pair(x, LABELS).item() == pytest.approx(want.item(), rel=1e-10)


def test_a_reducer_gets_the_costs_of_the_anchors_that_have_one():
    x = vectors(8, 0)
    mean = Loss(SoftTargetInfoNCE(0.1), reducer=reducers.MeanReducer())(x, LABELS)
    assert mean.item() == pytest.approx(losses.SupConLoss(0.1)(x, LABELS).item(), rel=1e-10)
    total = Loss(SoftTargetInfoNCE(0.1), reducer=reducers.SumReducer())(x, LABELS)
    assert total.item() == pytest.approx(7 * mean.item(), rel=1e-10)  # row 5 has no positive
    alone = Loss(SoftTargetInfoNCE(0.1), reducer=reducers.MeanReducer())(x, torch.arange(8))
    assert alone.item() == 0.0 and Loss(InfoNCE())(x, torch.arange(8)).item() == 0.0


# ---- sources and vetters inside --------------------------------------------------------------------------------------


def test_a_vetter_is_a_miner_and_a_loss_of_theirs_on_its_pairs_is_the_chain():
    guide = vectors(8, 9)
    mined = Miner(Gist())(vectors(8, 0), LABELS, guide=guide)
    everything = (LABELS[:, None] != LABELS).sum()
    assert 0 < len(mined[2]) < everything
    found = []
    for loss in (
        lambda x: Loss(Chain(Cosine(), Gist(), InfoNCE(0.2)))(x, LABELS, guide=guide),
        lambda x: losses.NTXentLoss(0.2)(x, LABELS, mined),
        lambda x: Loss(InfoNCE(0.2))(x, LABELS, mined),
    ):
        x = vectors(8, 0).requires_grad_()
        value = loss(x)
        value.backward()
        found.append((value.item(), x.grad))
    for value, slope in found[1:]:
        assert value == pytest.approx(found[0][0], rel=1e-10) and torch.allclose(slope, found[0][1], atol=1e-12)


def test_the_hardest_negative_of_the_miner_is_that_of_their_batch_hard_miner():
    x = vectors(8, 0)
    a1, p, a2, n = Miner(Cosine(), k=1)(x, LABELS)
    anchor, _, hardest = miners.BatchHardMiner(distance=distances.CosineSimilarity())(x, LABELS)
    ours = dict(zip(a2.tolist(), n.tolist(), strict=True))
    assert len(a2) == 8 and [ours[a] for a in anchor.tolist()] == hardest.tolist()
    assert set(zip(a1.tolist(), p.tolist(), strict=True)) == {
        (i, j) for i in range(8) for j in range(8) if i != j and LABELS[i] == LABELS[j]
    }


def test_the_miner_looks_at_a_reference_set_and_scorers_decide_the_order():
    x, y = vectors(8, 0), 3 * vectors(5, 1)
    guide = (vectors(8, 2), vectors(5, 3))
    _, _, a2, n = Miner(Chain(Dot(), InfoNCE()), k=2)(x, LABELS, y, REFERENCE)
    scores = (x @ y.T).masked_fill(LABELS[:, None] == REFERENCE, -torch.inf)
    assert sorted(zip(a2.tolist(), n.tolist(), strict=True)) == sorted(
        (i, j) for i in range(8) for j in scores[i].topk(2).indices.tolist()
    )
    assert len(Miner(Gist())(x, LABELS, y, REFERENCE, guide=guide[0], ref_guide=guide[1])) == 4
    with pytest.raises(ValueError, match="ref_guide"):
        Miner(Gist())(x, LABELS, y, REFERENCE, guide=guide[0])


def test_nothing_to_mine_is_empty_and_not_an_error():
    mined = Miner(Cosine())(vectors(3, 0), torch.zeros(3, dtype=torch.int64))
    assert [len(part) for part in mined] == [6, 6, 0, 0] and all(part.dtype == torch.int64 for part in mined)


def test_partial_belief_names_a_pair_above_the_least():
    class Half(Gist):
        def forward(self, batch, *, now=None, generator=None):
            return batch.replace(weight=torch.where(batch.sign < 0, 0.5, batch.weight))

    x = vectors(8, 0)
    assert len(Miner(Half())(x, LABELS)[3]) > 0
    assert len(Miner(Half(), least=0.5)(x, LABELS)[3]) == 0 and len(Miner(Half(), least=0.5)(x, LABELS)[1]) > 0


def test_sources_run_inside_the_loss_and_their_draws_follow_seed_and_step():
    x = vectors(8, 0)
    chain = Chain(Cosine(), MoCHi(4, 6, 2), InfoNCE(0.2))
    plain = Loss(InfoNCE(0.2))(x, LABELS).item()
    one, other = Loss(chain), Loss(chain)
    first, second = one(x, LABELS).item(), one(x, LABELS).item()
    assert first > plain and first != second
    assert [other(x, LABELS).item() for _ in range(2)] == [first, second]
    assert Loss(chain, seed=1)(x, LABELS).item() != first
    other.now = Moment(0, 0, 0.0)
    assert other(x, LABELS).item() == first
    soft = Loss(Chain(ContinuousWeight(), Cosine(), SoftTargetInfoNCE(0.1)))(x, LABELS, guide=vectors(8, 5))
    assert soft.isfinite() and soft.item() != losses.SupConLoss(0.1)(x, LABELS).item()


def test_parts_find_labels_and_who_brought_a_column():
    x = vectors(8, 0)
    batch = Loss(InfoNCE()).criterion.batch(x, LABELS, None, x, LABELS, in_batch=True, guide=None)
    assert batch.rows["label"].tolist() == batch.columns["id"].tolist() == LABELS.tolist()
    assert batch.rows["positive"].tolist() == [1, 0, 3, 2, 2, -1, 7, 6]
    assert batch.columns["of"].tolist() == list(range(8))
    assert Loss(Only("foreign", InfoNCE(0.1)))(x, LABELS) == Loss(InfoNCE(0.1))(x, LABELS)
    with pytest.raises(ValueError, match="NormRatio"):  # a scale is nothing the library knows
        Loss(NormRatio("all"))(x, LABELS)


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")  # theirs, for its progress bar
def test_it_trains_in_their_trainer():
    from pytorch_metric_learning import trainers

    torch.manual_seed(0)
    x, y = torch.randn(64, 6), torch.arange(8).repeat(8)
    x = x + 2 * torch.randn(8, 6)[y]
    data = torch.utils.data.TensorDataset(x, y)
    trunk, embedder = torch.nn.Linear(6, 8), torch.nn.Linear(8, 4)
    loss = Loss(SigmoidPairs(0.1, -2.0, learn_bias=True))
    start = loss(embedder(trunk(x)), y).item()
    trainer = trainers.MetricLossOnly(
        {"trunk": trunk, "embedder": embedder},
        {
            name: torch.optim.Adam(part.parameters(), 0.05)
            for name, part in (
                ("trunk_optimizer", trunk),
                ("embedder_optimizer", embedder),
                ("metric_loss_optimizer", loss),
            )
        },
        32,
        {"metric_loss": loss},
        data,
        mining_funcs={"tuple_miner": Miner(Cosine(), k=8)},
        data_device="cpu",
        dataloader_num_workers=0,
    )
    trainer.train(num_epochs=10)
    assert loss(embedder(trunk(x)), y).item() < 0.7 * start
    assert loss.chain.objective.offset.item() != -2.0


# ---- gates -----------------------------------------------------------------------------------------------------------


def test_what_would_be_ignored_is_refused():
    with pytest.raises(ValueError, match="Loss: the scorer of the chain measures"):
        Loss(InfoNCE(), distance=distances.LpDistance())
    with pytest.raises(ValueError, match="Miner: the scorer of the chain measures"):
        Miner(Cosine(), distance=distances.LpDistance())
    with pytest.raises(ValueError, match=r"Miner: least must be in \[0, 1\), got nan"):
        Miner(Cosine(), least=math.nan)
    with pytest.raises(ValueError, match="Miner: k must be a whole number >= 1 or None, got 0"):
        Miner(Cosine(), k=0)
    x = vectors(8, 0)
    with pytest.raises(ValueError, match="adds columns"):
        Miner(Chain(Cosine(), MoCHi(4, 6, 2), InfoNCE()))(x, LABELS)
    with pytest.raises(ValueError, match="needs labels, or the indices"):
        Loss(InfoNCE())(x)
    mined = Miner(Cosine())(x, LABELS)
    with pytest.raises(ValueError, match="pairs=False"):
        Loss(normalized_softmax(4, 6), pairs=False)(x.float(), LABELS, mined)
