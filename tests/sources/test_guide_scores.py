import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import from_pairs
from litotes.chain import Chain
from litotes.objectives import MarginMSE
from litotes.scoring import Dot
from litotes.sources.guide_scores import GuideScores


def batch(b=3, h=2, seed=0, guided=True):
    random = torch.Generator().manual_seed(seed)
    make = lambda n, d: torch.randn(n, d, generator=random)
    plain = from_pairs(make(b, 4), make(b, 4), make(b * h, 4) if h else None)
    if not guided:
        return plain
    guide = {"rows": make(b, 6).requires_grad_(), "columns": make(b * (h + 1), 6).requires_grad_()}
    return plain.replace(
        rows={**plain.rows, "guide": guide["rows"]}, columns={**plain.columns, "guide": guide["columns"]}
    )


@given(st.integers(1, 4), st.integers(0, 3), st.sampled_from(["dot", "cosine"]), st.sampled_from([0.5, 10.0]))
def test_every_pair_has_the_guide_s_score(b, h, similarity, scale):
    given_ = batch(b, h)
    scored = GuideScores("t", similarity, scale)(given_).pairs["t"]
    for i in range(b):
        for j in range(b * (h + 1)):
            x, y = given_.rows["guide"][i].detach(), given_.columns["guide"][j].detach()
            want = float(x @ y) / (float(x.norm() * y.norm()) if similarity == "cosine" else 1)
            assert scored[i, j].item() == pytest.approx(scale * want, abs=1e-5)
    assert not scored.requires_grad


def test_shares_are_a_softmax_over_what_is_there():
    given_ = batch()
    sign = given_.sign.clone()
    sign[0, 4] = 0
    sign[2] = 0
    shares = GuideScores("target", share=True)(given_.replace(sign=sign)).pairs["target"]
    scores = GuideScores("t")(given_).pairs["t"]
    kept = [j for j in range(9) if j != 4]
    assert torch.allclose(shares[0, kept], scores[0, kept].softmax(dim=0)) and shares[0, 4] == 0
    assert (shares[2] == 0).all() and shares[1].sum().item() == pytest.approx(1)


def test_columns_that_only_a_row_sees_are_not_scored():
    given_ = batch(h=0)
    own = torch.zeros(3, 2, 4)
    wide = given_.replace(
        sign=torch.cat([given_.sign, torch.full((3, 2), -1, dtype=torch.int8)], dim=1), weight=torch.ones(3, 5), own=own
    )
    scored = GuideScores()(wide).pairs["teacher_inbatch"]
    assert scored.shape == (3, 5) and scored[:, 3:].isnan().all() and scored[:, :3].isfinite().all()
    assert (GuideScores("t", share=True)(wide).pairs["t"][:, 3:] == 0).all()


def test_it_gives_what_an_objective_needs_and_asks_for_a_guide():
    chain = Chain(GuideScores("other"), Dot(), MarginMSE("other"))
    assert set(chain.needs) == {"guide", "features"}
    with pytest.raises(ValueError, match='the batch has no rows."guide".'):
        chain(batch(guided=False))


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"into": ""}, "into must be the name of a key of pairs, got ''"),
        ({"similarity": "l2"}, "similarity must be 'dot' or 'cosine', got 'l2'"),
        ({"scale": 0.0}, "scale must be > 0 and finite, got 0.0"),
        ({"scale": math.nan}, "scale must be > 0 and finite, got nan"),
    ],
)
def test_bad_arguments_are_named(given_, message):
    with pytest.raises(ValueError, match=f"GuideScores: {message}"):
        GuideScores(**given_)
