"""Trees: scores by hand, a slow twin with sets, and the soft contrast that they make."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import two_views
from litotes.chain import Chain
from litotes.objectives.contrastive.soft_target import SoftTargetInfoNCE
from litotes.scoring import Cosine
from litotes.sources.soft.tree import VIEWS, PathTreeSimilarity, TreeSimilarity
from litotes.training.chains import Space2
from litotes.training.subspace_head import SubspaceHead

TREE = TreeSimilarity()
NORTH = {"hotel": {"inform": {"area": ["north"], "price": ["cheap"]}}}
SOUTH = {"hotel": {"inform": {"area": ["south"], "price": ["cheap"]}}}

names = st.sampled_from(["a", "b", "A ", "a-b", "c", "DEFAULT_INTENT"])
frames = st.dictionaries(names, st.dictionaries(names, st.dictionaries(names, st.lists(names, max_size=3), max_size=2)))


def test_scores_by_hand():
    score, defined = TREE.pair(NORTH, SOUTH)
    assert score == pytest.approx([1, 1, 1, 1 / 3, 1, 1, 1 / 3, 1, 1 / 3, 1 / 3]) and defined.all()
    assert TREE.combined(NORTH, SOUTH) == pytest.approx(0.733333, abs=1e-6)


def test_views_without_elements_are_undefined():
    bye, other = {"hotel": {"bye": {}}}, {"taxi": {"bye": {}}}
    score, defined = TREE.pair(bye, bye)
    assert [v for v, d in zip(VIEWS, defined, strict=True) if d] == ["D", "I", "DI"] and (score[defined] == 1).all()
    assert TREE.combined(bye, bye) == 1
    score, defined = TREE.pair(bye, other)
    assert dict(zip(np.array(VIEWS)[defined], score[defined], strict=True)) == {"D": 0, "I": 1, "DI": 0}
    assert TREE.combined(bye, other) == pytest.approx(1 / 3)


def test_placeholders_take_away_what_holds_them_and_nothing_else():
    found = TREE.elements({"hotel": {"DEFAULT_INTENT": {"name": ["x"]}}})
    assert [v for v, e in zip(VIEWS, found, strict=True) if e] == ["D", "S", "V", "SV"]
    near = TREE.elements({"hotel": {"not DEFAULT_INTENT": {"name": ["x"]}}})
    assert all(near)
    assert TREE.combined({"a-b": {"c": {}}}, {"a": {"b-c": {}}}) == 0  # paths are tuples


def test_an_empty_frame_is_like_nothing_but_itself():
    matrix = TREE.matrix([{}, NORTH, {}])
    assert torch.equal(matrix[:, 0], torch.tensor([1.0, 0, 0]).expand(10, 3))
    assert (matrix.diagonal(dim1=1, dim2=2) == 1).all() and TREE.combined({}, {}) == 0


def sets(frame):
    """The views of a frame, by loops."""
    clean = lambda text: text.strip().lower()
    found = {view: set() for view in VIEWS}
    for d, intents in frame.items():
        chains = [[d]]
        for i, slots in intents.items():
            chains.append([d, i])
            for s, values in slots.items():
                chains += [[d, i, s]] + [[d, i, s, v] for v in values]
        for chain in chains:
            for view in VIEWS:
                places = ["DISV".index(level) for level in view]
                if places[-1] < len(chain):
                    found[view].add(tuple(clean(chain[p]) for p in places))
    return {view: {e for e in es if "default_intent" not in e} for view, es in found.items()}


@given(st.lists(frames, min_size=1, max_size=4))
def test_it_is_what_sets_say_symmetric_and_within_bounds(given_):
    matrix = TREE.matrix(given_)
    assert torch.equal(matrix, matrix.mT) and matrix.min() >= 0 and matrix.max() <= 1
    for i, a in enumerate(given_):
        for j, b in enumerate(given_):
            score, defined = TREE.pair(a, b)
            x, y = sets(a), sets(b)
            for v, view in enumerate(VIEWS):
                union = x[view] | y[view]
                assert defined[v] == bool(union)
                want = len(x[view] & y[view]) / len(union) if union else 0
                assert score[v] == pytest.approx(want) and matrix[v, i, j] == pytest.approx(1 if i == j else want)


def test_case_spaces_order_and_repeats_do_not_matter():
    messy = {" Hotel": {"INFORM ": {"price": ["Cheap", "cheap "], "area": ["north"]}}}
    assert TREE.combined(messy, NORTH) == 1
    one = {"h": {"i": {"s": ["x", "y"]}}}
    assert TREE.combined(one, {"h": {"i": {"s": ["y", "x", "x"]}}}) == 1
    assert TREE.combined({"h": {"i": {"s": "xy"}}}, {"h": {"i": {"s": ["xy"]}}}) == 1  # one text is one value


def test_paths_in_a_hierarchy_have_a_view_per_level():
    tree = PathTreeSimilarity([1, 2, 4])
    score, defined = tree.pair(["a", "b", "c"], ["a", "b", "d"])
    assert score.tolist() == [1, 1, 0] and defined.tolist() == [True, True, False]
    assert tree.combined([["a", "b"], ["c", "d"]], ["a", "b"]) == pytest.approx(0.5)
    assert tree.combined(["a", "b"], ["b", "a"]) == 0


def test_numbers_of_elements_do_not_depend_on_what_else_is_encoded():
    together = TREE.encode([SOUTH, NORTH])
    assert torch.equal(together[1], TREE.encode([NORTH])[0])
    assert TREE.encode([{}]).shape == (1, 10, 1) and (TREE.encode([{}]) == -1).all()


def test_evidence_holds_the_pairs_above_the_threshold():
    things, ids = [NORTH, SOUTH, {"taxi": {"bye": {}}}, {}], ["n", "s", "t", "e"]
    table = TREE.to_evidence(things, ids)
    rows = {(r["anchor"], r["candidate"]): r for r in table.to_pylist()}
    assert set(rows) == {("n", "s"), ("s", "n")}
    row = rows["n", "s"]
    assert row["sign"] == 1 and row["weight"] == pytest.approx(0.733333) and row["found"][0]["source"] == "tree"
    assert len(TREE.to_evidence(things, ids, 0.74)) == 0 and len(TREE.to_evidence([], [])) == 0
    with pytest.raises(ValueError, match="4 things, but 1 ids"):
        TREE.to_evidence(things, ["n"])
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\)"):
        TREE.to_evidence(things, ids, 1.0)


def soft(u, v, weights=None, temperature=0.07):
    """Two passes and soft positives between samples."""
    batch = two_views(u, v)
    if weights is not None:
        batch = batch.replace(pairs={"target": weights.repeat(2, 2)})
    return Chain(Cosine(), SoftTargetInfoNCE(temperature))(batch)


@pytest.mark.parametrize("weight, value", [(0.0, 0.551445), (0.5, 1.051445), (1.0, 1.218111)])
def test_two_samples_by_hand(weight, value):
    weights = torch.eye(2) + weight * (1 - torch.eye(2))
    assert soft(torch.eye(2), torch.eye(2), weights, 1.0).item() == pytest.approx(value, abs=1e-6)
    if not weight:
        assert soft(torch.eye(2), torch.eye(2), None, 1.0).item() == pytest.approx(value, abs=1e-6)


def draws(b, d, seed=0):
    return torch.randn(2, b, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_hard_weights_are_the_supervised_contrast_of_others():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    u, v = draws(6, 4)
    y = torch.tensor([0, 1, 0, 2, 1, 0])
    theirs = losses.SupConLoss(temperature=0.07)
    for labels in (torch.arange(6), y):
        weights = (labels[:, None] == labels[None]).double()
        wanted = theirs(torch.cat([u, v]), labels.repeat(2)).item()
        assert soft(u, v, weights).item() == pytest.approx(wanted, rel=1e-6)


@given(st.integers(2, 5), st.integers(0, 99))
def test_the_soft_loss_written_out_and_its_invariances(b, seed):
    u, v = draws(b, 3, seed)
    weights = torch.rand(b, b, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights = ((weights + weights.T) / 2).fill_diagonal_(1)
    z = torch.nn.functional.normalize(torch.cat([u, v]), dim=1)
    costs = []
    for a in range(2 * b):
        others = [c for c in range(2 * b) if c != a]
        log_sum = torch.logsumexp(torch.stack([z[a] @ z[c] / 0.5 for c in others]), 0)
        pull = [weights[a % b, c % b] for c in others]
        costs.append(sum(w * (log_sum - z[a] @ z[c] / 0.5) for w, c in zip(pull, others, strict=True)) / sum(pull))
    found = soft(u, v, weights, 0.5).item()
    assert found == pytest.approx(torch.stack(costs).mean().item(), rel=1e-6)
    order = torch.randperm(b)
    assert soft(u[order], v[order], weights[order][:, order], 0.5).item() == pytest.approx(found, rel=1e-9)
    lengths = torch.rand(b, 1, dtype=torch.float64) + 0.2  # of a whole row: the weights are shares
    assert soft(u, v, weights * lengths, 0.5).item() == pytest.approx(found, rel=1e-6)


def test_more_weight_pulls_a_row_towards_what_that_sample_costs():
    (u, v), b = draws(4, 3, 7), 4
    chain = Chain(Cosine(), SoftTargetInfoNCE(0.5))
    weights = torch.full((b, b), 0.3, dtype=torch.float64).fill_diagonal_(1)
    rows = lambda w: chain.per_anchor(two_views(u, v).replace(pairs={"target": w.repeat(2, 2)}))[0]
    before, falls = rows(weights), set()
    for i in range(b):
        for j in range(b):
            if i == j:
                continue
            alone, more = torch.zeros(b, b, dtype=torch.float64), weights.clone()
            alone[i, j], more[i, j] = 1, 0.4
            mean = rows(alone)[i]
            falls.add(bool(mean < before[i]))
            assert (rows(more)[i] < before[i]) == (mean < before[i])
    assert falls == {True, False}


def features(b, views, p, seed=0, dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(2, b, views, p, generator=random, dtype=dtype)


def with_trees(batch, part, things):
    tree = part.encode(things).repeat(2, 1, 1)
    return batch.replace(rows={**batch.rows, "tree": tree}, columns={"tree": tree})


def test_each_view_has_its_own_subspace_and_the_mean_counts():
    things = [NORTH, SOUTH, {"taxi": {"bye": {}}}, {}]
    u, v = features(4, 10, 3)
    part = Space2()
    batch = with_trees(two_views(u, v), part.similarity, things)
    found, matrix = part.terms(batch), TREE.matrix(things).double()
    for number, view in enumerate(VIEWS):
        want = soft(u[:, number], v[:, number], matrix[number])
        assert found[view].item() == pytest.approx(want.item(), rel=1e-6)
    assert found["loss"].item() == pytest.approx(np.mean([found[view].item() for view in VIEWS]))
    alone = Space2(supervised=False).terms(two_views(u, v))
    wanted = np.mean([soft(u[:, n], v[:, n]).item() for n in range(10)])
    assert alone["loss"].item() == pytest.approx(wanted, rel=1e-6)


def test_an_empty_frame_costs_what_it_costs_without_trees():
    things = [{}, NORTH, SOUTH]
    u, v = draws(3, 4)
    chain = Chain(TREE, Cosine(), SoftTargetInfoNCE(0.07))
    batch = with_trees(two_views(u, v), TREE, things)
    bare = Chain(Cosine(), SoftTargetInfoNCE(0.07)).per_anchor(two_views(u, v))[0]
    found = chain.per_anchor(batch)[0]
    assert torch.allclose(found[[0, 3]], bare[[0, 3]]) and not torch.allclose(found[1], bare[1])
    target = TREE(batch).pairs["target"]
    assert target[1, 2] == pytest.approx(0.733333, abs=1e-6) and target[1, 4] == 1 == target[0, 3]


def test_gradients_reach_features_alone_and_half_precision_is_summed_in_float32():
    things = [NORTH, SOUTH]
    part = Space2(temperature=0.5)
    u, v = (side.requires_grad_() for side in features(2, 10, 2))
    assert torch.autograd.gradcheck(lambda u, v: part(with_trees(two_views(u, v), TREE, things)), (u, v))
    half = part(with_trees(two_views(*(side.detach().bfloat16() for side in (u, v))), TREE, things))
    whole = part(with_trees(two_views(*(side.detach().bfloat16().float() for side in (u, v))), TREE, things))
    assert half.dtype == torch.float32 and half.item() == pytest.approx(whole.item(), rel=1e-6)


def test_the_head_gives_unit_vectors_within_the_range_of_tanh():
    torch.manual_seed(0)
    head, x = SubspaceHead(6, 5, 10), torch.randn(3, 6)
    z = head(x)
    assert z.shape == (3, 10, 5) and torch.allclose(z.norm(dim=2), torch.ones(3, 10))
    want = head.map(x).tanh()[:, 5:10]
    assert torch.allclose(z[:, 1], want / want.norm(dim=1, keepdim=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TreeSimilarity(["D", "X"]), "views must be different ones of"),
        (lambda: TreeSimilarity(["D", "D"]), "views must be different ones of"),
        (lambda: PathTreeSimilarity([2, 1]), "levels must be whole numbers >= 1 that ascend"),
        (lambda: PathTreeSimilarity([]), "levels must be"),
        (lambda: SubspaceHead(3, 0), "dim must be a whole number >= 1"),
        (lambda: TREE(two_views(*draws(2, 3))), 'needs rows\\["tree"\\]'),
        (lambda: Space2()(two_views(*features(2, 3, 3))), r"features must be \[n, 10, P\].*got \[4, 3, 3\]"),
        (
            lambda: PathTreeSimilarity()(with_trees(two_views(*draws(2, 3)), TREE, [NORTH, SOUTH])),
            r"trees must be \[n, 3, M\]",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
