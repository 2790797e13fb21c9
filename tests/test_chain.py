import pytest
import torch
from torch import nn

from litotes.batch import SignedBatch, doubt, from_pairs
from litotes.chain import Chain
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.scoring import Cosine, Dot, NegL2
from litotes.spelling import Spelled, parse, spell


class Twice(nn.Module):
    """A source that appends the candidates a second time, as negatives."""

    stage, needs, gives = "source", ("features",), ("doubles",)

    def forward(self, batch, *, now=None, generator=None):
        b, c = batch.sign.shape
        return SignedBatch(
            batch.scores,
            torch.cat([batch.sign, -torch.ones(b, c, dtype=torch.int8)], dim=1),
            torch.cat([batch.weight, torch.ones(b, c)], dim=1),
            batch.anchors,
            torch.cat([batch.candidates, batch.candidates]),
            notes=batch.notes,
        )

    def __str__(self):
        return spell(self)


class Above(nn.Module):
    """A vetter that doubts negatives above a score, and needs a guide."""

    stage, needs, gives = "vetter", ("scores", "guide"), ()

    def __init__(self, line: float = 0.0):
        super().__init__()
        self.line = line

    def forward(self, batch, *, now=None, generator=None):
        return doubt(batch, (batch.sign < 0) & (batch.scores > self.line), reason=str(self))

    def __str__(self):
        return spell(self)


class Seen(nn.Module):
    """An objective that shows what it was called with."""

    stage, needs = "objective", ("doubles", "ids")

    def forward(self, batch, *, now=None, generator=None):
        self.got = batch, now, generator
        return batch.scores.sum()

    def terms(self, batch, *, now=None):
        return {"loss": batch.scores.sum()}

    def per_anchor(self, batch, *, now=None):
        return batch.scores.sum(dim=1), (batch.sign > 0).any(dim=1)

    def __str__(self):
        return spell(self)


def rounds(chain):
    return [([str(s) for s in r.sources], str(r.scorer), [str(v) for v in r.vetters]) for r in chain.rounds]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], [([], "cosine()", [])]),
        ([Dot()], [([], "dot()", [])]),
        ([Above()], [([], "cosine()", ["above(line=0.0)"])]),
        ([Twice()], [(["twice()"], "cosine()", [])]),
        (
            [Twice(), Twice(), Dot(), Above(), Above(1.0)],
            [(["twice()"] * 2, "dot()", ["above(line=0.0)", "above(line=1.0)"])],
        ),
        ([Dot(), Above(), Twice()], [([], "dot()", ["above(line=0.0)"]), (["twice()"], "dot()", [])]),
        (
            [Above(), Twice(), NegL2(), Twice()],
            [
                ([], "cosine()", ["above(line=0.0)"]),
                (["twice()"], "neg_l2(squared=True)", []),
                (["twice()"], "neg_l2(squared=True)", []),
            ],
        ),
        ([Twice(), Above(), Twice(), Above()], [(["twice()"], "cosine()", ["above(line=0.0)"])] * 2),
    ],
)
def test_a_source_opens_a_round_behind_a_scorer_or_a_vetter_and_the_last_scorer_serves_on(parts, expected):
    assert rounds(Chain(*parts, InfoNCE())) == expected


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "the last part must be an objective, got no parts"),
        ([Cosine()], r"the last part must be an objective, got cosine\(\)"),
        ([InfoNCE(), Cosine()], "the last part must be an objective"),
        ([InfoNCE(), InfoNCE()], "one objective, at the end"),
        ([Above(), Cosine(), InfoNCE()], r"cosine\(\) comes behind the vetter above\(line=0.0\)"),
        ([Cosine(), Dot(), InfoNCE()], r"two scorers in one round, cosine\(\) and dot\(\)"),
        ([Cosine(), nn.Identity(), InfoNCE()], "is no source, scorer, vetter or objective"),
        ([Cosine(), "gist()", InfoNCE()], "is no source, scorer, vetter or objective"),
        ([Cosine, InfoNCE()], "is no source, scorer, vetter or objective"),
    ],
)
def test_an_order_without_meaning_is_refused_when_the_chain_is_made(parts, message):
    with pytest.raises(ValueError, match=f"Chain: .*{message}"):
        Chain(*parts)


def test_parts_run_in_order_and_each_gets_the_moment_and_the_generator():
    x, y = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    seen, generator, now = Seen(), torch.Generator(), object()
    loss = Chain(Dot(), Above(0.5), Twice(), seen)(from_pairs(x, y), now=now, generator=generator)
    batch, got_now, got_generator = seen.got
    assert got_now is now and got_generator is generator
    assert batch.scores.tolist() == [[1, 1, 1, 1], [0, 1, 0, 1]] and loss.item() == 6
    # only what stood there when it vetted was doubted: (0, 1); the doubles came later
    assert batch.weight.tolist() == [[1, 0, 1, 1], [1, 1, 1, 1]] and batch.notes["above(line=0.5)"].item() == 1


def test_a_chain_is_the_objective_of_its_prepared_batch():
    torch.manual_seed(0)
    batch = from_pairs(torch.randn(4, 3), torch.randn(4, 3))
    chain, objective = Chain(Cosine(), InfoNCE(0.1)), InfoNCE(0.1)
    assert torch.equal(chain(batch), objective(Cosine()(batch)))
    scored = Cosine()(batch)
    assert torch.equal(Chain(objective)(scored), objective(scored))  # nothing left to score
    chain = Chain(Twice(), Seen())
    prepared = chain.prepare(batch)
    assert torch.equal(chain.terms(batch)["loss"], prepared.scores.sum())
    assert torch.equal(chain.per_anchor(batch)[0], prepared.scores.sum(dim=1))


def test_what_a_batch_must_bring_is_known_with_who_asks_first():
    assert Chain(Twice(), Above(), Seen()).needs == {"features": "twice()", "guide": "above(line=0.0)", "ids": "seen()"}
    assert Chain(Cosine(), InfoNCE()).needs == {"features": "cosine()"}


def test_the_spelling_names_all_parts_in_order_and_reads_back():
    chain = Chain(NegL2(False), Above(0.5), InfoNCE(0.2))
    assert str(chain).startswith("chain(neg_l2(squared=False), above(line=0.5), infonce(temperature=0.2")
    read = parse(str(chain))
    assert read.arguments["*"][:2] == [Spelled("neg_l2", {"squared": False}), Spelled("above", {"line": 0.5})]
    from litotes.catalog import ENTRIES

    if {"cosine", "infonce"} <= {entry.name for entry in ENTRIES}:
        from litotes.catalog import parse as build

        built = build(str(Chain(Cosine(), InfoNCE(0.2))))
        assert isinstance(built, Chain) and str(built) == str(Chain(Cosine(), InfoNCE(0.2)))


def test_learned_parameters_of_all_parts_are_found_by_an_optimiser():
    learned = nn.Parameter(torch.ones(()))
    scorer = Dot()
    scorer.scale = learned
    assert [p is learned for p in Chain(scorer, InfoNCE()).parameters()] == [True]


def test_terms_and_costs_know_the_moment_and_the_draws():
    from litotes.batch import Moment
    from litotes.objectives.combine import Only
    from litotes.objectives.temperature import ScheduledTemperature
    from litotes.sources.mixed.mochi import MoCHi

    chain = Chain(Cosine(), MoCHi(4, 3, 1), InfoNCE(ScheduledTemperature(0.5, 0.05)))
    torch.manual_seed(0)
    batch = from_pairs(torch.randn(5, 8), torch.randn(5, 8))
    for progress in (0.0, 1.0):
        now, draws = Moment(0, 0, progress), lambda: torch.Generator().manual_seed(3)
        loss = chain(batch, now=now, generator=draws())
        assert torch.equal(chain.terms(batch, now=now, generator=draws())["loss"], loss)
        cost, believed = chain.per_anchor(batch, now=now, generator=draws())
        assert (cost * believed).sum() / believed.sum() == pytest.approx(loss.item(), rel=1e-5)
    plain = Chain(Cosine(), InfoNCE(ScheduledTemperature(0.5, 0.05)))
    assert Only("foreign", plain).per_anchor(batch, now=now)[0].shape == (5,)
