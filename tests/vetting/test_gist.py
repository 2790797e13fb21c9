import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import SignedBatch, from_pairs, signs
from litotes.chain import Chain
from litotes.objectives import InfoNCE
from litotes.scoring import Cosine
from litotes.sources.same_side import SameSide
from litotes.training.chains import gist_loss
from litotes.vetting.gist import Gist


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def guided(b=6, h=2, d=5, g=3, seed=0, dtype=torch.float64):
    """A batch of pairs with mined negatives and the features of a guide of another width."""
    random = torch.Generator().manual_seed(seed)
    make = lambda n, width: torch.randn(n, width, generator=random, dtype=dtype)
    batch = from_pairs(make(b, d), make(b, d), make(b * h, d) if h else None)
    # close to its positive, so that the guide doubts some and not all
    anchors = make(b, g)
    positives = anchors + make(b, g)
    columns = torch.cat([positives, make(b * h, g)])
    return batch.replace(rows={**batch.rows, "guide": anchors}, columns={**batch.columns, "guide": columns})


def scores_of_guide(ap, aa=None, pp=None, student=None):
    """A batch [ap | aa | pp] whose student has A = P = I and whose guide scores are given."""
    b = len(ap)
    student = torch.eye(b, dtype=torch.float64) if student is None else student
    batch = SameSide()(from_pairs(student, student))
    return batch.replace(pairs={"guide": torch.tensor([r for r in [*zip(ap, aa, pp, strict=True)]]).reshape(b, -1)})


def slowly(batch, margin, strategy, reference):
    """The rule of the docstring, one pair at a time."""
    cos = lambda x, y: float((x / x.norm()) @ (y / y.norm()))
    rows, columns = batch.rows["guide"].double(), batch.columns["guide"].double()
    side = batch.columns.get("side", torch.zeros(len(columns)))
    doubted = torch.zeros_like(batch.sign, dtype=torch.bool)
    for i in range(len(rows)):
        drawn = int(batch.rows["positive"][i])
        anchor, positive = rows[i], columns[drawn]
        seen = [cos(positive if side[j] == 1 else anchor, columns[j]) for j in range(len(columns))]
        positives = [seen[j] for j in range(len(columns)) if batch.sign[i, j] > 0]
        if positives:
            r = {"min": min, "max": max, "mean": lambda x: sum(x) / len(x)}[reference](positives)
            line = r - (margin if strategy == "absolute" else abs(r) * margin)
            for j in range(len(columns)):
                near = abs(seen[j] - line) < 1e-6  # a tie within rounding may go either way; drawn data has none
                assert not (near and margin), "choose another seed"
                doubted[i, j] = batch.sign[i, j] < 0 and seen[j] > line
    return doubted


@given(
    st.integers(0, 99),
    st.sampled_from([0, 2]),
    st.sampled_from([(0.0, "absolute"), (0.1, "absolute"), (0.3, "relative")]),
    st.sampled_from(["min", "max", "mean"]),
    st.booleans(),
)
def test_it_is_its_rule(seed, h, line, reference, both_sides):
    batch = guided(h=h, seed=seed)
    batch = SameSide()(batch) if both_sides else batch
    extra = torch.zeros_like(batch.sign)
    extra[:, 1] = 1  # a second positive for every row, so that the reference matters
    sign = torch.where((batch.sign < 0) & (extra > 0), extra, batch.sign)
    batch = batch.replace(sign=sign)
    vetted = Gist(*line, reference)(batch)
    assert torch.equal(vetted.weight == 0, slowly(batch, *line, reference))
    assert torch.equal(vetted.sign, batch.sign) and vetted.scores is None


def test_the_worked_value():
    """Row 1 keeps ap11, aa12, pp12: log(1 + 2/e); row 2 keeps ap21, ap22, aa21, pp21: log(1 + 3/e)."""
    batch = scores_of_guide([[0.9, 0.95], [0.1, 0.8]], [[1, 0.5], [0.5, 1]], [[1, 0.3], [0.3, 1]])
    chain = Chain(Cosine(), Gist(), InfoNCE(1.0))
    cost, _ = chain.per_anchor(batch)
    assert cost.tolist() == pytest.approx([math.log(1 + 2 / math.e), math.log(1 + 3 / math.e)], abs=1e-6)
    assert chain(batch).item() == pytest.approx(0.647556, abs=1e-6)
    name = "gist(margin=0.0, strategy=absolute, reference=min)"
    notes = chain.prepare(batch).notes
    assert {k: v.item() for k, v in notes.items()} == {
        f"{name}: ap": 1,
        f"{name}: aa": 0,
        f"{name}: pp": 0,
        f"{name}: an": 0,
    }


@given(st.integers(0, 20))
def test_every_doubt_is_counted_once_in_the_block_of_its_column(seed):
    batch = SameSide()(guided(b=5, h=2, seed=seed))
    vetted = Gist(0.2)(batch)
    blocks = dict(zip(["ap", "an", "aa", "pp"], (vetted.weight == 0).split([5, 10, 5, 5], dim=1), strict=True))
    counted = {reason.rsplit(": ", 1)[1]: int(count) for reason, count in vetted.notes.items()}
    assert counted == {name: int(block.sum()) for name, block in blocks.items()} and sum(counted.values()) > 0


def test_a_guide_that_doubts_nothing_leaves_cross_entropy():
    a, p = normal(8, 5), normal(8, 5, seed=1)
    batch = from_pairs(a, p).replace(
        rows={"positive": torch.arange(8), "guide": torch.eye(8)}, columns={"guide": torch.eye(8)}
    )
    want = F.cross_entropy(F.normalize(a) @ F.normalize(p).T / 0.01, torch.arange(8))
    chain = gist_loss(contrast_anchors=False, contrast_positives=False)
    assert chain(batch).item() == pytest.approx(want.item(), rel=1e-12)
    assert "same_side" not in str(chain)


def test_a_guide_that_doubts_everything_leaves_a_loss_and_gradients_of_exactly_zero():
    a, p = normal(4, 5).requires_grad_(), normal(4, 5, seed=1).requires_grad_()
    ones = torch.ones(4, 2)
    lean = torch.tensor([[1.0, 0.1]]).repeat(4, 1)  # positives lie a little off, all else on the anchor
    batch = from_pairs(a, p, normal(4, 5, seed=2)).replace(
        rows={"positive": torch.arange(4), "guide": ones},
        columns={"of": torch.arange(8) % 4, "role": torch.ones(8), "guide": torch.cat([lean, ones])},
    )
    # the positives of other rows tie with the line; a margin takes them too
    loss = gist_loss(margin=0.01)(batch)
    loss.backward()
    assert loss.item() == 0.0 and (a.grad == 0).all() and (p.grad == 0).all()


@pytest.mark.parametrize("line, kept, gone", [(0.5, 0.5, 0.5 + 1e-6), (-0.2, -0.2, -0.2 + 1e-6)])
def test_equality_keeps_and_a_hair_above_goes(line, kept, gone):
    batch = from_pairs(normal(1, 3), normal(1, 3), normal(3, 3))
    batch = batch.replace(pairs={"guide": torch.tensor([[line, kept, gone, math.nan]])})
    assert Gist()(batch).weight.tolist() == [[1.0, 1.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    "margin, strategy, r, line",
    [(0.1, "relative", -0.2, -0.22), (0.1, "relative", 0.2, 0.18), (0.1, "absolute", -0.2, -0.3)],
)
def test_the_line_lies_below_the_positive_whatever_its_sign(margin, strategy, r, line):
    batch = from_pairs(normal(1, 3), normal(1, 3), normal(2, 3))
    batch = batch.replace(pairs={"guide": torch.tensor([[r, line - 1e-5, line + 1e-5]], dtype=torch.float64)})
    assert Gist(margin, strategy)(batch).weight.tolist() == [[1.0, 1.0, 0.0]]


@given(st.integers(0, 50), st.sampled_from(["absolute", "relative"]), st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_deeper_line_never_believes_more(seed, strategy, margins):
    batch = SameSide()(guided(seed=seed))
    shallow, deep = (Gist(m, strategy)(batch).weight for m in sorted(margins))
    assert (deep <= shallow).all()


@given(st.integers(0, 20))
def test_the_positive_is_never_doubted_and_asking_twice_changes_nothing(seed):
    batch = SameSide()(guided(seed=seed))
    part = Gist(2.0)
    once = part(batch)
    assert (once.weight[batch.sign > 0] == 1).all() and (once.weight[batch.sign < 0] == 0).all()
    part = Gist(0.1)
    assert torch.equal(part(part(batch)).weight, part(batch).weight)
    assert {k: v.item() for k, v in part(part(batch)).notes.items()} == {
        k: v.item() for k, v in part(batch).notes.items()
    }


def test_an_earlier_lower_belief_stays():
    batch = guided()
    batch = batch.replace(weight=torch.full_like(batch.weight, 0.25))
    assert set(Gist()(batch).weight.unique().tolist()) == {0.0, 0.25}


def test_no_gradient_reaches_the_guide_and_none_passes_a_doubted_pair():
    batch = guided(h=2)
    guide = {"rows": batch.rows["guide"].requires_grad_(), "columns": batch.columns["guide"].requires_grad_()}
    vetted = Gist()(Cosine()(SameSide()(batch)))
    scores = vetted.scores.detach().requires_grad_()
    loss = InfoNCE(0.1)(vetted.replace(scores=scores))
    loss.backward()
    assert guide["rows"].grad is None and guide["columns"].grad is None and not vetted.weight.requires_grad
    gone = (vetted.weight == 0) | (vetted.sign == 0)
    assert gone.any() and (scores.grad[gone] == 0).all() and (scores.grad[~gone] != 0).all()


@given(st.integers(0, 30), st.floats(0.1, 10), st.integers(0, 5))
def test_lengths_of_vectors_and_the_order_of_the_batch_do_not_matter(seed, factor, shift):
    batch = guided(b=6, h=0, seed=seed)
    loss = gist_loss(0.1)
    stretch = torch.ones(6, 1, dtype=torch.float64)
    stretch[shift] = factor
    longer = batch.replace(
        anchors=batch.anchors * stretch,
        rows={**batch.rows, "guide": batch.rows["guide"] * stretch},
        columns={**batch.columns, "guide": batch.columns["guide"] * stretch.flip(0)},
    )
    order = torch.roll(torch.arange(6), shift)
    moved = from_pairs(batch.anchors[order], batch.candidates[order])
    moved = moved.replace(
        rows={**moved.rows, "guide": batch.rows["guide"][order]},
        columns={**moved.columns, "guide": batch.columns["guide"][order]},
    )
    want = loss(batch).item()
    assert loss(longer).item() == pytest.approx(want, rel=1e-6) and loss(moved).item() == pytest.approx(want, rel=1e-6)


def test_a_duplicate_ties_with_the_line_and_its_id_takes_it_away():
    """a_1 = a_2 and p_1 = p_2: the guide keeps ap12, a tie; ids make the sign 0. aa12 and pp12 are doubted."""
    a, p = normal(3, 4), normal(3, 4, seed=1)
    a[1], p[1] = a[0], p[0]
    guide_rows, guide_columns = normal(3, 3, seed=2), normal(3, 3, seed=3)
    guide_rows[1], guide_columns[1] = guide_rows[0], guide_columns[0]

    def vetted(ids):
        batch = from_pairs(a, p, ids=ids)
        rows, columns = {**batch.rows, "guide": guide_rows}, {**batch.columns, "guide": guide_columns}
        return Gist()(SameSide()(batch.replace(rows=rows, columns=columns)))

    plain = vetted(None)
    assert plain.weight[0, 1] == 1 and plain.weight[1, 0] == 1  # the tie
    assert plain.weight[0, 3 + 1] == 0 and plain.weight[1, 6 + 0] == 0  # aa12, pp21
    named = vetted((torch.tensor([7, 7, 8]), torch.tensor([4, 4, 5])))
    assert named.sign[0, 1] == 0 and named.sign[0, 4] == 0 and named.sign[0, 7] == 0
    assert named.sign[0, 2] == -1 and named.sign[0, 5] == -1 and named.sign[0, 8] == -1


def test_diagonals_are_gone_even_where_the_guide_cannot_tell_anchor_and_positive_apart():
    batch = guided(h=0)
    same = batch.rows["guide"]
    batch = batch.replace(columns={**batch.columns, "guide": same})
    vetted = Gist()(SameSide()(batch))
    for block in (vetted.sign[:, 6:12], vetted.sign[:, 12:18]):
        assert (block.diagonal() == 0).all() and (block == -1).sum() == 30


def test_neighbours_in_bfloat16_are_told_apart_in_float32():
    """Two guide vectors a bfloat16 step apart: their cosines round to one bfloat16 number, and only one is above."""
    rows = torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16)
    columns = torch.tensor([[1.0, 0.0625], [1.0, 0.0620117]], dtype=torch.bfloat16)
    batch = from_pairs(normal(1, 3), normal(1, 3), normal(1, 3))
    batch = batch.replace(rows={**batch.rows, "guide": rows}, columns={**batch.columns, "guide": columns})
    cosine = (F.normalize(rows.float()) @ F.normalize(columns.float()).T)[0]
    assert cosine[1] > cosine[0] and cosine.to(torch.bfloat16).unique().numel() == 1
    assert Gist()(batch).weight.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("reference, weight", [("min", 0.0), ("mean", 0.0), ("max", 1.0)])
def test_the_lowest_positive_draws_the_line_unless_asked(reference, weight):
    batch = from_pairs(normal(1, 3), normal(1, 3), normal(2, 3))
    sign = torch.tensor([[1, 1, -1]], dtype=torch.int8)
    batch = batch.replace(sign=sign, pairs={"guide": torch.tensor([[0.25, 0.75, 0.625]])})
    assert Gist(reference=reference)(batch).weight[0, 2] == weight


def test_rows_without_a_positive_and_columns_the_guide_has_not_seen_are_left_alone():
    batch = guided(b=3, h=1)
    own = normal(3, 2, 5)
    wide = batch.replace(
        own=own,
        sign=torch.cat([batch.sign, torch.full((3, 2), -1, dtype=torch.int8)], dim=1),
        weight=torch.ones(3, 8),
        rows={**batch.rows, "positive": torch.tensor([-1, 1, 2])},
    )
    wide = wide.replace(
        sign=torch.where(torch.eye(3, 8, dtype=torch.bool) & (torch.arange(3) == 0)[:, None], 0, wide.sign)
    )
    vetted = Gist(2.0)(SameSide()(wide))
    assert vetted.sign.shape == (3, 6 + 6 + 2) and vetted.private == 2
    assert (vetted.weight[0] == 1).all() and (vetted.weight[:, -2:] == 1).all() and (vetted.weight[1:, :6] != 1).any()
    assert (vetted.sign[0, 6:12] == 0).all() and (vetted.sign[:, [6, 9]] == 0).all()
    scored = Cosine()(vetted)
    assert (scored.scores[0, 9:12] == -math.inf).all() and InfoNCE()(scored).isfinite()


# ---- the source -----------------------------------------------------------------------------------------------------


def test_same_side_scores_like_with_like():
    batch = guided(b=4, h=1)
    scored = Cosine()(SameSide()(batch))
    a, p, n = (F.normalize(x, dim=1) for x in (batch.anchors, batch.candidates[:4], batch.candidates[4:]))
    assert torch.allclose(scored.scores, torch.cat([a @ p.T, a @ n.T, a @ a.T, p @ p.T], dim=1))
    assert scored.columns["role"].tolist() == [1] * 4 + [-1] * 4 + [0] * 4 + [1] * 4
    assert scored.columns["side"].tolist() == [0] * 12 + [1] * 4
    assert scored.columns["of"].tolist() == [0, 1, 2, 3] * 4
    guide = scored.columns["guide"]
    assert torch.equal(guide[8:12], batch.rows["guide"]) and torch.equal(guide[12:], batch.columns["guide"][:4])


def test_the_drawn_positive_may_stand_in_any_column():
    """Three candidates, shared: rows 0 and 2 drew column 2, row 1 drew column 0."""
    anchors, candidates = normal(3, 4), normal(3, 4, seed=1)
    drawn, ids = torch.tensor([2, 0, 2]), torch.tensor([5, 6, 7])
    sign = signs(torch.arange(3), ids, torch.tensor([[0, 7], [1, 5], [2, 7]]), drawn=drawn, of=drawn)
    weight = torch.ones(3, 3, dtype=torch.float64)
    weight[0, 0] = 0.5  # row 0 half believes that the positive of row 1 is a negative
    batch = SignedBatch(
        None, sign, weight, anchors, candidates, rows={"positive": drawn, "id": torch.arange(3)}, columns={"id": ids}
    )
    out = Cosine()(SameSide()(batch))
    want = torch.tensor([[0, -1, 0], [-1, 0, -1], [0, -1, 0]], dtype=torch.int8)  # rows 0 and 2 share their answer
    assert torch.equal(out.sign[:, 3:6], want) and torch.equal(out.sign[:, 6:], want)
    assert out.weight[0, 4] == out.weight[1, 3] == out.weight[0, 7] == 0.5 and out.weight[1, 5] == 1
    unit = F.normalize(candidates[drawn], dim=1)
    assert torch.allclose(out.scores[:, 6:], unit @ unit.T)
    assert out.columns["id"].tolist() == [5, 6, 7, -1, -1, -1, 7, 5, 7]
    assert out.columns["role"].tolist() == [1, -1, 1, 0, 0, 0, 1, 1, 1]


def test_one_row_that_knows_the_others_positive_is_enough_to_keep_the_two_together():
    """Row 0 knows the positive of row 1 as its own; row 1 does not know that of row 0."""
    known = torch.tensor([[0, 1]])
    batch = from_pairs(normal(3, 4), normal(3, 4, seed=1), ids=(torch.arange(3), torch.arange(3)), known=known)
    assert batch.sign.tolist() == [[1, 0, -1], [-1, 1, -1], [-1, -1, 1]]
    want = [[0, 0, -1], [0, 0, -1], [-1, -1, 0]]
    out = SameSide()(batch)
    assert out.sign[:, 3:6].tolist() == out.sign[:, 6:].tolist() == want


def test_either_block_may_be_left_out_and_pairs_grow_with_it():
    batch = guided(b=3, h=1).replace(pairs={"teacher": torch.zeros(3, 6), "mark": torch.ones(3, 6, dtype=torch.int64)})
    for part, columns in [(SameSide(positives=False), 9), (SameSide(anchors=False), 9), (SameSide(), 12)]:
        out = part(batch)
        assert out.sign.shape == (3, columns) and len(out.candidates) == columns
        assert out.pairs["teacher"][:, 6:].isnan().all() and (out.pairs["mark"][:, 6:] == 0).all()
    assert (SameSide(positives=False)(batch).columns["side"] == 0).all()
    assert (SameSide(anchors=False)(batch).columns["side"][6:] == 1).all()


def test_gradients_reach_both_ends_of_a_pair_of_positives():
    a, p = normal(3, 4).requires_grad_(), normal(3, 4, seed=1).requires_grad_()

    def loss(a, p):
        return Chain(SameSide(), Cosine(), InfoNCE(0.3))(from_pairs(a, p))

    assert torch.autograd.gradcheck(loss, (a, p))


def test_what_does_not_fit_is_named():
    for make, message in [
        (lambda: Gist(-0.1), r"Gist: margin must be in \[0, 2\] with strategy 'absolute', got -0.1"),
        (lambda: Gist(1.5, "relative"), r"Gist: margin must be in \[0, 1\] with strategy 'relative', got 1.5"),
        (lambda: Gist(math.nan), "Gist: margin must be in"),
        (lambda: Gist(strategy="both"), "Gist: strategy must be 'absolute' or 'relative', got 'both'"),
        (lambda: Gist(reference="first"), "Gist: reference must be 'min', 'max' or 'mean', got 'first'"),
        (lambda: SameSide(False, False), "SameSide: anchors or positives must be True"),
        (lambda: Gist()(from_pairs(normal(2, 3), normal(2, 3))), "Gist: needs features of the guide in rows"),
        (
            lambda: SameSide()(from_pairs(normal(2, 3), normal(2, 3)).replace(rows={})),
            "SameSide: needs anchors, candidates and rows",
        ),
        (
            lambda: SameSide()(from_pairs(normal(2, 3), normal(2, 3)).replace(columns={"age": torch.zeros(2)})),
            "columns has 'age' and rows has not",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
    batch = guided(b=2, h=0)
    wide = batch.replace(
        own=normal(2, 1, 5),
        sign=torch.cat([batch.sign, torch.full((2, 1), -1, dtype=torch.int8)], dim=1),
        weight=torch.ones(2, 3),
    )
    with pytest.raises(ValueError, match="own columns have been scored already"):
        SameSide()(Cosine()(wide))


def test_the_chain_says_that_it_needs_a_guide():
    assert gist_loss().needs["guide"].startswith("gist(")
    assert str(Gist(0.05, "relative")) == "gist(margin=0.05, strategy=relative, reference=min)"
