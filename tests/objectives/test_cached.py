import math

import pytest
import torch
from torch import nn

from litotes.batch import from_pairs
from litotes.chain import Chain
from litotes.objectives import Cached, InfoNCE, LearnedTemperature, Symmetric
from litotes.objectives.cached import cut_rows
from litotes.scoring import Cosine


class Encoder(nn.Module):
    """Two layers with dropout; counts its calls and the largest input it has seen."""

    def __init__(self, dropout=0.0, dtype=torch.float64):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 4)).to(dtype)
        self.seen = []

    def forward(self, x):
        x = x["x"] if isinstance(x, dict) else x
        self.seen.append(len(x))
        return self.layers(x)


def data(n=(7, 7, 14), dtype=torch.float64):
    random = torch.Generator().manual_seed(3)
    return [torch.randn(m, 6, generator=random, dtype=dtype) for m in n]


def form(features):
    return from_pairs(*features)


def gradients(*modules):
    found = {f"{i}.{k}": p.grad.clone() for i, m in enumerate(modules) for k, p in m.named_parameters()}
    for module in modules:
        module.zero_grad()
    return found


def chain():
    return Chain(Cosine(), Symmetric(InfoNCE(LearnedTemperature(0.1))))


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-6)])
def test_value_and_gradient_are_those_of_the_uncached_loss(chunk, dtype, tolerance):
    encoder, whole = Encoder(dtype=dtype), chain().to(dtype)
    columns = data(dtype=dtype)
    plain = whole(form([encoder(column) for column in columns]))
    (3.0 * plain).backward()
    want = gradients(encoder, whole)
    encoder.seen.clear()
    cached = Cached(whole, chunk)(encoder, columns, form)
    (3.0 * cached).backward()
    got = gradients(encoder, whole)
    assert cached.item() == pytest.approx(plain.item(), rel=tolerance)
    assert max(encoder.seen) == min(chunk, 14)
    assert want.keys() == got.keys() and "1.parts.1.rowwise.temperature.log_scale" in got
    for name in want:
        scale = want[name].abs().max()
        assert (got[name] - want[name]).abs().max() <= 10 * tolerance * scale, name


def test_dropout_is_replayed_and_the_stream_of_chance_goes_on():
    """The mask of every chunk is drawn once: with it fixed, the uncached gradient is the cached one."""
    columns, encoder = data((5, 5)), Encoder(dropout=0.5)
    part = Chain(Cosine(), InfoNCE(0.2))
    torch.manual_seed(11)
    Cached(part, 2)(encoder, columns, form).backward()
    after = torch.rand(3)
    got = gradients(encoder)

    torch.manual_seed(11)
    features = [torch.cat([encoder(piece) for piece in column.split(2)]) for column in columns]
    part(form(features)).backward()
    want = gradients(encoder)
    assert torch.equal(after, torch.rand(3))
    assert all(torch.allclose(got[name], want[name], rtol=1e-10, atol=1e-14) for name in want)

    torch.manual_seed(12)
    Cached(part, 2)(encoder, columns, form).backward()
    assert not torch.allclose(gradients(encoder)["0.layers.0.weight"], got["0.layers.0.weight"])


def test_a_second_batch_before_the_first_backward_pass_disturbs_nothing():
    encoder, part = Encoder(), Cached(Chain(Cosine(), InfoNCE(0.2)), 3)
    one, two = data((5, 5)), [2 * x + 1 for x in data((5, 5))]
    separate = []
    for columns in (one, two):
        part(encoder, columns, form).backward()
        separate.append(gradients(encoder))
    losses = [part(encoder, columns, form) for columns in (one, two)]
    (losses[0] + 0.5 * losses[1]).backward()
    joint = gradients(encoder)
    for name in joint:
        assert torch.allclose(joint[name], separate[0][name] + 0.5 * separate[1][name], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("inside", [False, True])
def test_autocast_is_replayed_even_if_the_backward_pass_stands_outside(inside):
    columns, encoder = data((6, 6), torch.float32), Encoder(dtype=torch.float32)
    part, kinds = Chain(Cosine(), InfoNCE(0.2)), []

    def encode(piece):
        out = encoder(piece)
        kinds.append(out.dtype)
        return out

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = Cached(part, 4)(encode, columns, form)
        if inside:
            loss.backward()
    if not inside:
        loss.backward()
    assert kinds == [torch.bfloat16] * 8
    assert not torch.is_autocast_enabled("cpu")
    got = gradients(encoder)
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        plain = part(form([torch.cat([encoder(piece) for piece in column.split(4)]) for column in columns]))
    plain.backward()
    want = gradients(encoder)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
    tolerance = 0.02 if inside else 1e-5  # inside, autocast rounds the products of the backward pass itself
    for name in want:
        assert (got[name] - want[name]).abs().max() <= tolerance * want[name].abs().max(), name


class Counting(Encoder):
    """Synchronises as DistributedDataParallel does: in a backward pass whose forward pass stood outside no_sync."""

    def __init__(self):
        super().__init__()
        self.sync, self.synchronised = True, 0

    def no_sync(self):
        from contextlib import contextmanager

        @contextmanager
        def quiet():
            self.sync = False
            yield
            self.sync = True

        return quiet()

    def forward(self, x):
        out = super().forward(x)
        if out.requires_grad and self.sync:
            out.register_hook(self._count)
        return out

    def _count(self, gradient):
        self.synchronised += 1


def test_gradients_are_synchronised_once_a_step():
    encoder = Counting()
    Cached(Chain(Cosine(), InfoNCE(0.2)), 2)(encoder, data(), form, model=encoder).backward()
    assert encoder.synchronised == 1 and len(encoder.seen) == 2 * (4 + 4 + 7)


def test_a_frozen_last_column_does_not_swallow_the_synchronisation():
    encoder = Counting()

    def encode(piece):
        return encoder(piece) if len(piece) != 3 else encoder(piece).detach()  # the candidates come in pieces of 3

    part = Cached(Chain(Cosine(), InfoNCE(0.2)), 4)
    columns = [torch.randn(4, 6, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)]

    def pairs(features):
        return from_pairs(features[0][:3], features[1])

    part(encode, columns, pairs, model=encoder).backward()
    got = gradients(encoder)
    assert encoder.synchronised == 1
    Chain(Cosine(), InfoNCE(0.2))(pairs([encode(column) for column in columns])).backward()
    want = gradients(encoder)
    assert all(torch.allclose(got[name], want[name], rtol=1e-10, atol=1e-14) for name in want)


@pytest.mark.slow
def test_distributed_data_parallel_reduces_each_bucket_once_a_step(tmp_path):
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        encoder = Encoder()
        wrapped = DistributedDataParallel(encoder)
        calls = []

        def count(state, bucket):
            calls.append(bucket.index())
            future = torch.futures.Future()
            future.set_result(bucket.buffer())
            return future

        wrapped.register_comm_hook(None, count)
        part = Cached(Chain(Cosine(), InfoNCE(0.2)), 3)
        for step in range(3):
            calls.clear()
            part(wrapped, data(), form, model=wrapped).backward()
            assert len(calls) == len(set(calls)) >= 1, step  # every bucket once, however many there are
            got = gradients(encoder)
            Chain(Cosine(), InfoNCE(0.2))(form([encoder(column) for column in data()])).backward()
            want = gradients(encoder)
            assert all(torch.allclose(got[name], want[name], rtol=1e-10, atol=1e-14) for name in want)
        calls.clear()
        with wrapped.no_sync():
            part(wrapped, data(), form, model=wrapped).backward()
        assert not calls  # gradient accumulation is respected
    finally:
        dist.destroy_process_group()


def test_without_gradients_it_is_the_plain_loss():
    encoder, columns = Encoder(), data()
    with torch.no_grad():
        loss = Cached(chain(), 3)(encoder, columns, form)
        assert not loss.requires_grad and len(encoder.seen) == 3 + 3 + 5
        assert loss.item() == pytest.approx(chain()(form([encoder(c) for c in columns])).item(), rel=1e-6)


def test_a_column_may_be_a_mapping_and_is_never_written_to():
    encoder = Encoder()
    plain = [{"x": column, "kind": "text", "length": torch.tensor(3)} for column in data((5, 5))]

    class Rude(nn.Module):
        def forward(self, piece):
            out = encoder(piece)
            piece["x"], piece["kind"] = None, None
            return out

    Cached(Chain(Cosine(), InfoNCE(0.2)), 2)(Rude(), plain, form).backward()
    got = gradients(encoder)
    Chain(Cosine(), InfoNCE(0.2))(form([encoder(c["x"]) for c in plain])).backward()
    want = gradients(encoder)
    assert all(torch.allclose(got[name], want[name], rtol=1e-10, atol=1e-14) for name in want)
    assert plain[0]["kind"] == "text"


def test_what_cannot_be_cut_is_named():
    assert cut_rows({"x": torch.arange(5), "task": "query"}, 2, 4)["x"].tolist() == [2, 3]
    with pytest.raises(ValueError, match="'offsets' has 2 entries for 5 inputs"):
        cut_rows({"x": torch.arange(5), "offsets": torch.arange(2)}, 0, 2)
    with pytest.raises(ValueError, match="a column must be a tensor or a mapping with tensors, got keys"):
        Cached(InfoNCE(), 2)(Encoder(), [{"kind": "text"}], form)


def test_a_batch_that_has_its_features_costs_what_it_costs_the_chain():
    batch, part = form(data((4, 4, 8))), Chain(Cosine(), InfoNCE(0.2))
    cached = Cached(part, 2)
    assert cached(batch).item() == part(batch).item() == cached.terms(batch)["loss"].item()
    assert torch.equal(cached.per_anchor(batch)[0], part.per_anchor(batch)[0])
    with pytest.raises(ValueError, match="Cached: needs columns to encode and form"):
        cached(Encoder())


def test_a_loss_of_nothing_is_refused():
    encoder, columns = Encoder(), data((4, 4))
    with pytest.raises(ValueError, match="does not depend on any of the 2 columns"):
        Cached(Chain(Cosine(), InfoNCE(0.2)), 2)(encoder, columns, lambda f: from_pairs(*[x.detach() for x in f]))


@pytest.mark.parametrize("bad", [0, -1, 2.5, math.nan])
def test_a_bad_chunk_is_named(bad):
    with pytest.raises(ValueError, match=f"Cached: chunk must be an integer >= 1, got {bad}"):
        Cached(InfoNCE(), bad)
    with pytest.raises(ValueError, match="Cached: chain must be a Chain or an objective, got cosine"):
        Cached(Cosine(), 2)
