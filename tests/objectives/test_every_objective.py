"""What every objective and every named chain promises, whatever it does. What enters the catalogue is swept too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from litotes import catalog
from litotes.batch import Moment, SignedBatch, from_classes, from_pairs
from litotes.chain import Chain
from litotes.objectives import Hinge, InfoNCE, Reweighted
from litotes.objectives.contrastive.progressive import ByDifficulty
from litotes.scoring import Cosine
from litotes.sources.mixed.mochi import MoCHi
from litotes.training import chains

NOW = Moment(3, 0, 0.7)
ROOT = Path(__file__).parents[2]

# whose batches cannot be made of two tables of vectors: they are swept where they are tested
ELSEWHERE = {"space2": "tests/sources/soft/test_tree.py"}
# how the parts that need something of their own are made; all others stand as the catalogue spells them
MADE = {
    "norm_ratio": "norm_ratio(pairs=all)",
    "voco": "chain(clipped_cosine(), voco(inter_weight=0, reg_weight=0))",
    "posterior_pairs": "chain(posterior_kl(), posterior_pairs())",
}
OBJECTIVES = {
    one.name: catalog.parse(MADE.get(one.name, one.spelling))
    for one in catalog.entries("objective", "tensor")
    if one.name not in ELSEWHERE
}
VARIANTS = {
    "infonce, joint": InfoNCE(0.1, "joint"),
    "infonce, any": InfoNCE(0.1, "any", "anchor"),
    "debiased_infonce, hard": catalog.parse("debiased_infonce(prior=0.1, hardness=1.0)"),
    "sigmoid_pairs, learned": catalog.parse(
        "sigmoid_pairs(temperature=learned_temperature(init=0.1), learn_bias=True)"
    ),
    "soft_target_infonce, smooth": catalog.parse("soft_target_infonce(label_smoothing=0.1)"),
    "hinge, hardest": Hinge(0.3, 2, 0.1, "count"),
    "reweighted, cached": Chain(Cosine(), Reweighted(Hinge(), ByDifficulty(), "anchor")),
    "mochi": Chain(Cosine(), MoCHi(4, 3, 2), InfoNCE(0.1)),
}
NAMED = {
    "gist_loss": chains.gist_loss(0.05, 0.05, "relative"),
    "star, weighted": chains.Star(0.5),
    "ngame_loss": chains.ngame_loss(k=2),
    "dual_supervision": chains.dual_supervision(),
    "dual_supervision, kl": chains.dual_supervision(inbatch="kl", guide=True),
    "cwcl": chains.cwcl(),
    "bidirectional_ranking": chains.bidirectional_ranking(),
    "masked_answer_contrast": chains.masked_answer_contrast(),
    "ctvis_loss": chains.ctvis_loss(),
    "sample4geo_loss": chains.sample4geo_loss(),
    "pot_loss": chains.pot_loss(),
    "claps": chains.claps(),
    "unpg": chains.unpg(3, 6),
    "normalized_softmax": chains.normalized_softmax(3, 6),
}
EVERY = {  # as chains, scored by cosine where they bring no scorer
    name: part if isinstance(part, Chain) else Chain(part) for name, part in {**OBJECTIVES, **VARIANTS, **NAMED}.items()
}
CLASSES = {"unpg", "normalized_softmax"}  # batches of classes, without candidates
UNSIGNED = {"norm_ratio", "compactness", "event_loss", "pot_loss"}  # they also read what is no sign
RANKED = {"adore"}  # columns in rank order
DRAWN = {"mochi"}  # draws its columns, and has no gradient through them
EVEN = Moment(0, 0, 0.5)  # where weights that follow training, and have no gradient, are all alike

every = pytest.mark.parametrize("name", EVERY)


def vectors(dtype=torch.float64):
    random = torch.Generator().manual_seed(4)
    x, y = (torch.randn(n, 6, generator=random, dtype=torch.float64) for n in (4, 8))
    return x.to(dtype), (y + 0.5 * torch.cat([x, x])).to(dtype)


def batch_of(name, x, y):
    """Four anchors, their positives and a negative each, and all that a part may ask for."""
    if name in CLASSES:
        return from_classes(x, torch.tensor([0, 1, 1, 2]))
    random = torch.Generator().manual_seed(5)

    def drawn(*shape):
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    ids = (torch.arange(4), torch.tensor([0, 1, 2, 3, 4, 5, 6, 1]))  # the last is the second's positive again
    weight = torch.where(drawn(4, 8) < 0.3, 0.5, 1.0).to(torch.float64)
    batch = from_pairs(x, y[:4], y[4:], ids=ids, known=torch.tensor([[0, 5]]), others="pull", weight=weight)
    rows = {
        "label": torch.tensor([0, 0, 1, 1]),
        "scale": torch.tensor([1.0, 0.5, 0.7, 0.9]),
        "guide": drawn(4, 5) - 0.5,
        "plain": x.flip(1),
        "event": x.roll(1, dims=1),
        "told": torch.tensor([True, True, False, True]),
        "compactness": x[:, 0],
    }
    pairs = {"teacher": 4 * drawn(4, 8), "teacher_inbatch": 4 * drawn(4, 8), "target": drawn(4, 8)}
    return batch.replace(
        rows={**batch.rows, **rows}, columns={**batch.columns, "guide": drawn(8, 5) - 0.5}, pairs=pairs
    )


def loss_of(name, batch, part=None, now=NOW):
    part = EVERY[name] if part is None else part
    generator = torch.Generator().manual_seed(0) if name in DRAWN else None
    return part(batch, now=now, generator=generator)


def slopes(loss, *leaves):
    return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)


def test_nothing_of_the_catalogue_is_left_out():
    for name, where in ELSEWHERE.items():
        assert name in (ROOT / where).read_text(encoding="utf-8").lower()
    assert set(OBJECTIVES) | set(ELSEWHERE) == {one.name for one in catalog.entries("objective", "tensor")}


@pytest.mark.parametrize("name", sorted(set(EVERY) - DRAWN))
def test_its_gradient_is_its_slope_in_double_precision(name):
    part = EVERY[name].double()
    leaves = [leaf.requires_grad_() for leaf in vectors()]
    assert torch.autograd.gradcheck(
        lambda x, y: loss_of(name, batch_of(name, x, y), part, EVEN), leaves, fast_mode=True
    )


@every
def test_at_a_temperature_of_0_005_all_stays_finite(name):
    text = re.sub(r"(?<![a-z_])temperature=[0-9.e+-]+", "temperature=0.005", str(EVERY[name]))
    part = catalog.parse(re.sub(r"init=[0-9.e+-]+", "init=0.005", text.replace("max_scale=100.0", "max_scale=None")))
    x, y = vectors(torch.float32)
    y[0], y[1], y[4], y[5] = x[0], -x[1], x[0], -x[1]  # positives and negatives at both ends of the scale
    x, y = x.requires_grad_(), y.requires_grad_()
    loss = loss_of(name, batch_of(name, x, y), part)
    assert loss.isfinite() and all(slope.isfinite().all() for slope in slopes(loss, x, y))


@every
@pytest.mark.parametrize("how", ["sign", "weight", "score"])
@pytest.mark.parametrize("rows", ["one", "all"])
def test_a_masked_row_costs_nothing_and_spoils_nothing(name, how, rows):
    if name in CLASSES or (how == "score" and "chain(" in str(EVERY[name])[6:]):
        pytest.skip("brings its own columns or scores")
    x, y = (leaf.requires_grad_() for leaf in vectors())
    batch = batch_of(name, x, y)
    gone = torch.tensor([True, rows == "all", rows == "all", rows == "all"])
    if how == "sign":
        drawn = batch.rows["positive"].masked_fill(gone, -1)
        batch = batch.replace(sign=batch.sign.masked_fill(gone[:, None], 0), rows={**batch.rows, "positive": drawn})
    elif how == "weight":
        batch = batch.replace(weight=batch.weight.masked_fill(gone[:, None], 0))
    else:
        batch = Cosine()(batch)
        batch = batch.replace(scores=batch.scores.masked_fill(gone[:, None], -torch.inf))
    loss = loss_of(name, batch)
    found = slopes(loss, x, y)
    assert loss.isfinite() and all(slope.isfinite().all() for slope in found)
    if name in UNSIGNED or name in ("symmetric", "cwcl", "sample4geo_loss", "bidirectional_ranking"):
        return  # of two directions, a row without pairs is a column without them
    if rows == "all":
        assert loss == 0 and all((slope == 0).all() for slope in found)
    elif name != "gist_loss":
        assert (found[0][0] == 0).all()


def permuted(batch, rows, columns):
    """The same batch in another order."""
    back_rows, back_columns = rows.argsort(), columns.argsort()
    per_row = {name: value[rows] for name, value in batch.rows.items()}
    per_column = {name: value[columns] for name, value in batch.columns.items()}
    if "positive" in per_row:
        per_row["positive"] = back_columns[per_row["positive"]]
    if "of" in per_column:
        per_column["of"] = back_rows[per_column["of"]]
    return SignedBatch(
        None,
        batch.sign[rows][:, columns],
        batch.weight[rows][:, columns],
        batch.anchors[rows],
        batch.candidates[columns],
        rows=per_row,
        columns=per_column,
        pairs={name: value[rows][:, columns] for name, value in batch.pairs.items()},
    )


@pytest.mark.parametrize("name", sorted(set(EVERY) - DRAWN))
def test_the_order_of_rows_and_columns_does_not_matter(name):
    batch = batch_of(name, *vectors())
    width = batch.sign.shape[1]
    columns = torch.arange(width)
    if name not in RANKED and width:
        columns = torch.tensor([3, 6, 0, 7, 2, 5, 1, 4])
    other = permuted(batch, torch.tensor([2, 0, 3, 1]), columns)
    assert loss_of(name, other).item() == pytest.approx(loss_of(name, batch).item(), rel=1e-7, abs=1e-12)


@every
def test_bfloat16_features_are_counted_in_float32(name):
    x, y = vectors(torch.bfloat16)
    part = EVERY[name].float()
    exact = loss_of(name, batch_of(name, x.float(), y.float()), part)
    leaves = [x.requires_grad_(), y.requires_grad_()]
    loss = loss_of(name, batch_of(name, *leaves), part)
    assert torch.promote_types(loss.dtype, torch.float32) == loss.dtype  # extras of the batch are float64
    assert loss.item() == pytest.approx(exact.item(), rel=1e-3)
    assert all(slope.dtype == torch.bfloat16 and slope.isfinite().all() for slope in slopes(loss, *leaves))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = loss_of(name, batch_of(name, x.float(), y.float()), part)
    assert mixed.item() == pytest.approx(exact.item(), rel=1e-3)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES | VARIANTS if "chain(" not in str(EVERY[name])[6:]])
def test_bfloat16_scores_are_counted_in_float32(name):
    scored = Cosine()(batch_of(name, *vectors(torch.float32)))
    half = (scored.scores / 4).bfloat16()
    generator = torch.Generator().manual_seed(0)
    part = EVERY[name].float().objective
    coarse, exact = (
        part(scored.replace(scores=scores), now=NOW, generator=generator) for scores in (half, half.float())
    )
    assert coarse.item() == pytest.approx(exact.item(), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(EVERY) - DRAWN))
def test_it_compiles_without_a_break(name):
    torch._dynamo.reset()
    part = EVERY[name].float()
    x, y = vectors(torch.float32)
    batch = batch_of(name, x, y)

    def loss(anchors, candidates):
        rest = {} if name in CLASSES else {"candidates": candidates}
        return loss_of(name, batch.replace(anchors=anchors, **rest), part)

    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    assert compiled(x, y).item() == pytest.approx(loss(x, y).item(), rel=1e-5)
