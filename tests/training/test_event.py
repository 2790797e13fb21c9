import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litotes.batch import from_pairs
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.ops import unit
from litotes.scoring import Cosine
from litotes.training.retriever.event import EventFusion, EventLoss, with_events


def fusion(seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = EventFusion(**({"dim": 6, "heads": 2} | options)).double()
        torch.nn.init.normal_(module.norm.bias)
        return module


def drawn(seed, b=4, tq=3, te=5):
    """Query and event states with masks; every second row has no event."""
    numbers = torch.Generator().manual_seed(seed)
    query, event = (torch.randn(b, t, 6, generator=numbers, dtype=torch.float64) for t in (tq, te))
    asked, told = (torch.rand(b, t, generator=numbers) < 0.6 for t in (tq, te))
    asked[torch.arange(b), torch.randint(0, tq, (b,), generator=numbers)] = True
    told[:, 0] = True
    told[1::2] = False
    return query, asked, event, told


def slowly(module, query, asked, event, told):
    """The formula of the docstring, one token and one head at a time."""
    out = []
    for h_q, m_q, h_e, m_e in zip(query, asked, event, told, strict=True):
        rows = []
        for x in h_q:
            read = torch.zeros(module.dim, dtype=torch.float64)
            if m_e.any():
                k, v = module.to_k(h_e[m_e]), module.to_v(h_e[m_e])
                heads = []
                for q, key, value in zip(
                    module.to_q(x).chunk(module.heads),
                    k.chunk(module.heads, dim=1),
                    v.chunk(module.heads, dim=1),
                    strict=True,
                ):
                    share = (key @ q / math.sqrt(len(q))).exp()
                    heads.append((share / share.sum()) @ value)
                read = module.to_out(torch.cat(heads))
            rows.append(module.norm(x + module.gate * read))
        rows = torch.stack(rows)
        plain = module.norm(h_q)
        kept = m_q.nonzero()[:, 0] if module.pool == "mean" else m_q.nonzero()[:1, 0]
        known = h_e[m_e].mean(dim=0) if m_e.any() else torch.zeros(module.dim, dtype=torch.float64)
        out.append([unit(rows[kept].mean(dim=0)), unit(plain[kept].mean(dim=0)), unit(known)])
    return [torch.stack(column) for column in zip(*out, strict=True)]


@given(
    st.integers(0, 99),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([1.0, 0.25, "learn"]),
    st.sampled_from(["mean", "cls"]),
)
def test_it_is_its_formula(seed, heads, gate, pool):
    module = fusion(seed, heads=heads, gate=gate, pool=pool)
    for found, expected in zip(module(*drawn(seed)), slowly(module, *drawn(seed)), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-8)


@given(st.integers(0, 99), st.sampled_from(["mean", "cls"]))
def test_without_events_it_is_the_plain_query_also_beside_rows_that_have_some(seed, pool):
    module = fusion(seed, pool=pool)
    query, asked, event, told = drawn(seed)
    event = event.requires_grad_()
    none = module(query, asked, event, torch.zeros_like(told))
    assert torch.equal(none[0], none[1]) and (none[2] == 0).all()
    empty = module(query, asked, event[:, :0], told[:, :0])
    assert torch.equal(empty[0], none[0]) and torch.equal(empty[2], none[2])
    sum(x.square().sum() + x.sum() for x in none).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters()) and event.grad.isfinite().all()

    mixed = module(query, asked, event, told)
    assert torch.equal(mixed[0][1::2], mixed[1][1::2]) and not torch.equal(mixed[0][::2], mixed[1][::2])
    for part in (slice(0, None, 2), slice(1, None, 2)):
        for whole, alone in zip(mixed, module(query[part], asked[part], event[part], told[part]), strict=True):
            torch.testing.assert_close(whole[part], alone, atol=1e-6, rtol=0)
    module.zero_grad()
    sum(x.sum() for x in mixed).backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


def test_a_closed_gate_lets_nothing_in_and_no_gradient_out():
    module = fusion(gate=0)
    query, asked, event, told = drawn(3)
    event = event.requires_grad_()
    context, plain, _ = module(query, asked, event, told)
    assert torch.equal(context, plain)
    documents = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    InfoNCE(0.1)(Cosine()(from_pairs(context, documents))).backward()
    assert (event.grad == 0).all()


def test_a_learnt_gate_starts_at_a_half_and_learns():
    module = fusion(gate="learn")
    fixed = fusion(gate=0.5)
    torch.testing.assert_close(module(*drawn(1))[0], fixed(*drawn(1))[0])
    module(*drawn(1))[0].sum().backward()
    assert module.gate.grad != 0


def test_of_equal_event_tokens_every_query_token_reads_their_value():
    module = fusion(heads=1)
    with torch.no_grad():
        for linear in (module.to_q, module.to_k, module.to_v):
            linear.weight.copy_(torch.eye(6))
            linear.bias.zero_()
    query, _, event, told = drawn(2)
    same = event[:, :1].expand(-1, 5, -1)
    read = module.attended(query, same, told)
    torch.testing.assert_close(read[::2], same[::2, :3], atol=1e-12, rtol=0)
    assert (read[1::2] == 0).all()


@given(st.integers(0, 99), st.integers(0, 3), st.sampled_from([1e4, math.inf, math.nan]))
def test_masked_tokens_padding_and_the_order_of_event_tokens_change_nothing(seed, more, value):
    module = fusion(seed)
    query, asked, event, told = drawn(seed)
    expected = module(query, asked, event, told)
    wild = module(
        query.masked_fill(~asked[:, :, None], value), asked, event.masked_fill(~told[:, :, None], value), told
    )
    turn = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    turned = module(query, asked, event[:, turn], told[:, turn])
    longer = torch.cat([event, torch.full((4, more, 6), value, dtype=torch.float64)], dim=1)
    padded = module(query, asked, longer, torch.cat([told, torch.zeros(4, more, dtype=torch.bool)], dim=1))
    for other in (wild, turned, padded):
        for found, one in zip(other, expected, strict=True):
            torch.testing.assert_close(found, one, atol=1e-12, rtol=0)


def test_the_value_of_the_main_loss_by_hand():
    candidates = torch.tensor([[cos, math.sqrt(1 - cos**2)] for cos in (0.8, 0.6, 0.2)], dtype=torch.float64)
    batch = from_pairs(torch.tensor([[1.0, 0.0]], dtype=torch.float64), candidates[:1], candidates[1:])
    context = with_events(batch, batch.anchors, batch.anchors, torch.zeros(1, 0))
    assert EventLoss(0.1)(context).item() == pytest.approx(0.129109, abs=1e-6)


def world(seed, b=4, h=1, told=(True, False, True, True), ids=None):
    numbers = torch.Generator().manual_seed(seed)
    made = [torch.randn(b, 6, generator=numbers, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    negatives = torch.randn(b, h, 6, generator=numbers, dtype=torch.float64)
    context, plain, event, documents = made
    batch = from_pairs(context, documents, negatives)
    return with_events(batch, plain, event, torch.tensor(told)[:, None], ids=ids), made


def test_without_the_other_tasks_it_is_infonce():
    batch, _ = world(0)
    assert torch.equal(EventLoss(0.2, 0, 0)(batch), InfoNCE(0.2)(Cosine()(batch)))


@given(st.integers(0, 99), st.lists(st.booleans(), min_size=4, max_size=4), st.sampled_from([(0.5, 0.1), (2.0, 0.0)]))
def test_the_other_tasks_are_means_over_the_rows_with_events(seed, told, weights):
    batch, (context, plain, event, documents) = world(seed, told=told)
    loss, t = EventLoss(0.2, *weights), 0.2
    terms = loss.terms(batch)
    cos = torch.nn.functional.cosine_similarity
    finds, found_by = [], []
    for i in range(4):
        if told[i]:
            s = cos(event[i][None], batch.candidates) / t
            finds.append(s.logsumexp(0) - s[i])
            others = torch.stack([cos(plain[i], event[j], dim=0) / t for j in range(4) if told[j]])
            found_by.append(others.logsumexp(0) - cos(plain[i], event[i], dim=0) / t)
    expected = [sum(values) / len(values) if values else torch.tensor(0.0).double() for values in (finds, found_by)]
    torch.testing.assert_close(terms["event_to_document"], expected[0])
    torch.testing.assert_close(terms["query_to_event"], expected[1])
    total = terms["query_to_document"] + weights[0] * expected[0] + weights[1] * expected[1]
    torch.testing.assert_close(terms["loss"], total)
    assert torch.equal(loss(batch), terms["loss"])
    loss(batch).backward()
    for row, there in enumerate(told):
        assert there or ((event.grad[row] == 0).all() and (plain.grad[row] == 0).all())
    assert all(x.grad is None or x.grad.isfinite().all() for x in (context, plain, event, documents))


def test_documents_that_others_brought_about_the_own_event_are_no_negatives():
    rows = torch.tensor([7, 7, -1, -1])
    columns = torch.tensor([7, 7, -1, -1, 7, 9, 8, -1])  # positives, then one mined negative of each row
    told = (True,) * 4
    batch, (*_, documents) = world(1, told=told, ids=(rows, columns))
    loss = EventLoss(0.2, 0, 0)
    seen = loss._believed(batch)
    gone = seen.weight == 0
    # row 0 loses row 1's positive, but keeps the stale document of its own event that was mined for it
    assert gone.nonzero().tolist() == [[0, 1], [1, 0], [1, 4]] and seen.notes["same event"] == 3
    loss(batch).backward()
    mine = documents.grad[1].clone()
    # in the third task events of one id say nothing to each other
    bare, _ = world(1, told=told)
    same = torch.tensor([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    s = Cosine()(bare.replace(anchors=bare.rows["plain"], candidates=bare.rows["event"], sign=bare.sign[:, :4],
                              weight=bare.weight[:, :4], columns={}, rows={})).scores / 0.2  # fmt: skip
    s = s.masked_fill(same, -math.inf)
    torch.testing.assert_close(EventLoss(0.2).terms(batch)["query_to_event"], (s.logsumexp(1) - s.diagonal()).mean())
    assert mine.isfinite().all()


def test_a_batch_without_events_and_a_bad_shape_are_refused():
    batch, _ = world(0)
    with pytest.raises(ValueError, match="must come from with_events, its rows have no plain, event, told"):
        EventLoss()(batch.replace(rows={}))
    with pytest.raises(ValueError, match=r"event must be \[4, T, 6\], got \[4, 5, 7\]"):
        fusion()(torch.zeros(4, 3, 6), torch.ones(4, 3), torch.zeros(4, 5, 7), torch.ones(4, 5))
    with pytest.raises(ValueError, match=r"query_mask must be \[4, 3\], got \[4, 2\]"):
        fusion()(torch.zeros(4, 3, 6), torch.ones(4, 2), torch.zeros(4, 5, 6), torch.ones(4, 5))


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        (EventFusion, {"dim": 6, "heads": 4}, "heads must divide dim 6, got 4"),
        (EventFusion, {"dim": 0}, "dim must be a whole number >= 1, got 0"),
        (EventFusion, {"dim": 8, "gate": float("nan")}, "gate must be a finite number or 'learn', got nan"),
        (EventFusion, {"dim": 8, "pool": "max"}, "pool must be 'mean' or 'cls', got 'max'"),
        (EventLoss, {"event_weight": -0.1}, "event_weight must be >= 0 and finite, got -0.1"),
        (EventLoss, {"query_event_weight": float("nan")}, "query_event_weight must be >= 0 and finite, got nan"),
        (EventLoss, {"temperature": 0}, "temperature must be > 0 and finite, got 0"),
    ],
)
def test_the_gate(part, options, message):
    with pytest.raises(ValueError, match=f"{part.__name__}: {message}"):
        part(**options)
