"""The prototype loss by hand, back translation across a gap, and episodes that keep labels by their places."""

import math

import pytest
import torch
from torch import nn

from litotes.batch import from_pairs
from litotes.chain import Chain
from litotes.errors import BadInput
from litotes.objectives.combine import Symmetric
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.contrastive.soft_target import SoftTargetInfoNCE
from litotes.ops import unit
from litotes.scoring import Cosine, Dot
from litotes.sources.structured.prototypes import Prototypes
from litotes.training.episodic import EpisodicProto, PairedTowers, prototype_batch

U = torch.tensor([[0.6, 0.8]])


def loss(student, centroids, labels, teacher=None, teacher_temperature=0.01, temperature=1.0, counts=None):
    batch = prototype_batch(student, centroids, torch.as_tensor(labels), teacher, teacher_temperature, counts)
    return Chain(Dot(), SoftTargetInfoNCE(temperature))(batch)


@pytest.mark.parametrize(
    "label, heat, value", [(0, 0.01, 0.798139), (0, 0.5, 0.774298), (0, 1.0, 0.744351), (1, None, 0.598139)]
)
def test_the_loss_by_hand(label, heat, value):
    assert loss(U, torch.eye(2), [label], teacher_temperature=heat).item() == pytest.approx(value, abs=1e-6)
    if heat == 0.5:
        target = prototype_batch(U, torch.eye(2), torch.tensor([label]), None, heat).pairs["target"][0]
        assert target.tolist() == pytest.approx([0.880797, 0.119203], abs=1e-6)


def test_cold_targets_are_labels_and_hot_ones_uniform():
    torch.manual_seed(0)
    u, c, y = unit(torch.randn(5, 3)), unit(torch.randn(4, 3)), torch.tensor([0, 3, 1, 1, 2])
    assert loss(u, c, y, teacher_temperature=1e-4).item() == pytest.approx(loss(u, c, y, None, None).item(), rel=1e-5)
    s = u @ c.T
    wanted = (s.logsumexp(1) - s.mean(1)).mean().item()
    assert loss(u, c, y, teacher_temperature=1e6).item() == pytest.approx(wanted, rel=1e-5)


def test_translation_by_hand_and_of_a_modality_to_itself():
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    rows, counts = Prototypes(3).back_translate(torch.tensor([0, 0, 1]), z)
    assert torch.allclose(rows, torch.tensor([[0.5, 0.5], [0.6, 0.8], [0.0, 0.0]])) and counts.tolist() == [2, 1, 0]
    torch.manual_seed(0)
    features = unit(torch.randn(200, 4))
    part = Prototypes(6, iters=200)
    labels, centroids = part.fit(features)
    assert torch.allclose(part.back_translate(labels, features)[0], centroids, atol=1e-4)


def test_gradient_is_that_of_a_softmax_and_reaches_students_alone():
    torch.manual_seed(0)
    u, c, t = (torch.randn(*shape).requires_grad_() for shape in ((5, 3), (4, 3), (4, 7)))
    y = torch.tensor([0, 3, 1, 1, 2])
    loss(u, c, y, t, 0.5, temperature=0.1).backward()
    q = (t[y] @ t.T / 0.5).softmax(1)
    wanted = ((u @ c.T / 0.1).softmax(1) - q) @ c / 0.1 / 5
    assert torch.allclose(u.grad, wanted.detach(), atol=1e-5) and c.grad is None and t.grad is None


def test_names_of_clusters_do_not_matter_and_empty_ones_can_be_left_out():
    torch.manual_seed(1)
    u, c, t, y = unit(torch.randn(5, 3)), torch.randn(4, 3), torch.randn(4, 2), torch.tensor([0, 3, 1, 1, 2])
    turn = torch.tensor([2, 0, 3, 1])
    there = loss(u, c, y, t, 0.3).item()
    assert loss(u, c[turn], turn.argsort()[y], t[turn], 0.3).item() == pytest.approx(there, rel=1e-5)
    wide, more = torch.cat([c, torch.zeros(1, 3)]), torch.cat([t, torch.full((1, 2), -9.0)])
    hard = {"teacher_temperature": None}
    plain = loss(u, c, y, **hard).item()
    assert loss(u, wide, y, more, **hard).item() > plain
    counts = torch.tensor([1, 2, 1, 1, 0])
    assert loss(u, wide, y, more, counts=counts, **hard).item() == pytest.approx(plain, rel=1e-5)


def test_across_a_gap_translated_prototypes_lose_nothing():
    torch.manual_seed(0)
    image, text = unit(torch.randn(60, 4)), unit(torch.randn(60, 4))
    image = unit(text + 0.2 * image)
    part = Prototypes(5)
    y, c = part.fit(text)
    turn = torch.linalg.qr(torch.randn(4, 4)).Q

    def both(images):
        ours = part.back_translate(y, images)[0]
        return loss(images, ours, y, c, temperature=0.1).item(), loss(images, c, y, c, temperature=0.1).item()

    near, far = both(image), both(image @ turn)
    assert far[0] == pytest.approx(near[0], abs=1e-5) and far[1] > near[1] + 0.1


def towers(seed=0, width=4):
    torch.manual_seed(seed)
    heads = [nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, width)) for _ in range(2)]
    return PairedTowers(nn.Linear(5, 6), nn.Linear(3, 6), *heads)


def world(seed=0, model=None, **more):
    g = torch.Generator().manual_seed(9)
    images, texts = torch.randn(40, 5, generator=g), torch.randn(40, 3, generator=g)
    model = towers(seed) if model is None else model
    given = {"episodes": 4, "episode_size": 32, "batch_size": 8, "lock_episodes": 1, "seed": seed} | more
    run = EpisodicProto(model, lambda rows: (images[rows], texts[rows]), 40, Prototypes(4), **given)
    return run, run.phases(torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)), images, texts


def clip_loss(model, images, texts, rows):
    seen, said = model.image(images[rows]), model.text(texts[rows])
    return Chain(Cosine(), Symmetric(InfoNCE(model.clip_temperature)))(from_pairs(seen, said, ids=(rows, rows)))


def test_warm_up_locked_episodes_and_weights_of_zero_are_clip():
    run, _, images, texts = world()
    places = torch.arange(8)
    for episode in (0, 1, 3):
        run(episode)
        run.model.eval()
        plain = clip_loss(run.model, images, texts, run.episode["rows"][places])
        assert torch.equal(run.cost(places, episode), plain) == (episode != 1)
    alone, _, _, _ = world(weights=(1.0, 0.0, 0.0))
    alone(1)
    alone.model.eval()
    assert torch.equal(alone.cost(places, 1), clip_loss(alone.model, images, texts, alone.episode["rows"][places]))


def test_the_parts_of_the_loss_are_those_of_the_card():
    teacher = torch.randn(40, 7, generator=torch.Generator().manual_seed(3))
    run, _, images, texts = world(teacher=teacher, weights=(0.5, 2.0, 3.0))
    run(1)
    run.model.eval()
    places = torch.tensor([3, 9, 1, 30])
    rows, held = run.episode["rows"][places], run.episode
    _, _, ui, ut = run.model(images[rows], texts[rows])
    _, _, zi, zt = run.model(images[held["rows"]], texts[held["rows"]])
    yt, yi, ye = held["image_labels"], held["text_labels"], held["text_external_labels"]
    for labels, features, teacher in (
        (yt, zt, "image_teacher"),
        (yi, zi, "text_teacher"),
    ):  # each is taught by the other
        assert torch.allclose(Prototypes(4).back_translate(labels, features)[0], held[teacher], atol=1e-4)
    back, heat = Prototypes(4).back_translate, run.model.proto_temperature().item()
    two = loss(ui, back(yt, zi)[0], yt[places], held["image_teacher"], temperature=heat) + loss(
        ut, back(yi, zt)[0], yi[places], held["text_teacher"], temperature=heat
    )
    ext = sum(loss(u, back(ye, z)[0], ye[places], None, None, heat) for u, z in ((ui, zi), (ut, zt)))
    wanted = 0.5 * clip_loss(run.model, images, texts, rows) + 2 * two / 2 + 3 * ext / 2
    assert run.cost(places, 1).item() == pytest.approx(wanted.item(), rel=1e-4)


def test_a_teacher_of_another_width_needs_translation():
    teacher = torch.randn(40, 7)
    run, _, _, _ = world(teacher=teacher, back_translate=False)
    run(1)
    with pytest.raises(ValueError, match="needs back translation"):
        run.cost(torch.arange(8), 1)


def test_samples_keep_their_labels_whatever_the_order():
    run, _, images, texts = world(episode_size=80)
    run(1)
    rows = run.episode["rows"]
    assert len(rows.unique()) < 80  # some are drawn twice
    run.model.eval()
    everything = torch.cat([run.places(1, step) for step in range(run.steps)])
    assert everything.sort().values.tolist() == list(range(80))
    assert not torch.equal(run.places(1, 0), run.places(2, 0))
    # a planted label: only the batch that holds its place can see it
    place = int(run.places(1, 2)[5])
    before = [run.cost(run.places(1, step), 1).item() for step in range(run.steps)]
    for name in ("image_labels", "text_labels"):
        run.episode[name] = run.episode[name].clone()
        run.episode[name][place] = (run.episode[name][place] + 1) % 4
    after = [run.cost(run.places(1, step), 1).item() for step in range(run.steps)]
    assert [a != b for a, b in zip(before, after, strict=True)] == [step == 2 for step in range(run.steps)]
    twice = torch.tensor([0, 0, 1])
    assert run.cost(twice, 1).isfinite()


def test_a_run_goes_on_where_it_stopped_and_the_lock_holds():
    run, phases, _, _ = world()
    phases.run()
    there = {name: value.clone() for name, value in run.model.state_dict().items()}
    _, half, _, _ = world()
    half.run(until=6)
    state = half.state_dict()
    _, rest, _, _ = world(model=towers(5))
    rest.load_state_dict(state)
    assert torch.equal(rest.refresh.episode["image_labels"], half.refresh.episode["image_labels"])
    locked = []
    rest.run(until=12, after=None)
    locked = rest.refresh.model.image.weight.clone()
    rest.run()
    assert torch.equal(locked, rest.refresh.model.image.weight)  # not even weight decay
    assert all(torch.equal(value, there[name]) for name, value in rest.refresh.model.state_dict().items())
    assert not torch.equal(there["text.weight"], towers().text.weight)


def test_features_are_taken_at_rest_and_scales_stay_in_bounds():
    run, phases, images, _ = world()
    run.model.train()
    before = run.model.image_head[1].running_mean.clone()
    run(1)
    assert torch.equal(before, run.model.image_head[1].running_mean) and run.model.training
    with torch.no_grad():
        run.model.clip_temperature.log_scale.fill_(9.0)
        run.model.proto_temperature.log_scale.fill_(-9.0)
    phases.step()
    assert run.model.clip_temperature().item() == pytest.approx(0.01)
    assert run.model.proto_temperature().item() == pytest.approx(1.0) and math.log(100) > 0
    images[:] = float("nan")
    with pytest.raises(BadInput):
        run(1)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: world(episodes=0), "episodes must be >= 1"),
        (lambda: world(episode_size=3, batch_size=2), "episode_size must be >= batch_size and k"),
        (lambda: world(weights=(1.0, -1.0, 0.0)), "weights must be three numbers"),
        (lambda: world(teacher=torch.ones(3, 2)), "one row per sample"),
        (lambda: world(warmup_episodes=-1), "must be >= 0"),
        (lambda: loss(U, torch.eye(2), [0], teacher_temperature=0.0), "teacher_temperature must be > 0 or None"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
