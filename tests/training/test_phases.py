import io
import signal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from litotes.training.learner import Learner, frozen
from litotes.training.order import rows_of_step
from litotes.training.phase_run import run_kept
from litotes.training.phases import Phase, Phases
from litotes.training.run_folder import RunFolder


def scalar(value=0.0, rate=0.1, **options):
    module = nn.ParameterList([nn.Parameter(torch.tensor(value))])
    return Learner(module, torch.optim.SGD(module.parameters(), lr=rate), **options)


def value(learner):
    return learner.module[0]


class Searches:
    """A refresh with a state: what it was called with."""

    def __init__(self):
        self.rounds = []

    def __call__(self, round):
        self.rounds.append(round)

    def state_dict(self):
        return {"rounds": list(self.rounds)}

    def load_state_dict(self, state):
        self.rounds = list(state["rounds"])


def game(a, b, seen, refresh=None, rounds=2, steps=(500, 1500), **options):
    def costs(phase, name, learner):
        def cost(turn):
            seen.append((phase, turn.round, turn.step, turn.total))
            return {name: (value(learner) - 1) ** 2}

        return cost

    plan = [
        Phase("ranker", steps[0], ("a",), costs("ranker", "a", a)),
        Phase("retriever", steps[1], ("b",), costs("retriever", "b", b)),
    ]
    return Phases({"a": a, "b": b}, plan, rounds=rounds, refresh=refresh, **options)


def test_a_round_is_500_ranker_steps_1500_retriever_steps_and_a_refresh_before():
    seen, refresh = [], Searches()
    phases = game(scalar(), scalar(), seen, refresh)
    assert phases.steps == 4000 and phases.phase == "refresh"
    assert phases.run(until=499) == 499 and phases.phase == "ranker"
    assert phases.run(until=500) == 500 and phases.phase == "retriever"  # step 500 is the retriever's first
    assert phases.run(until=2000) == 2000 and phases.phase == "refresh" and refresh.rounds == [0]
    assert phases.run(until=2501) == 2501 and phases.phase == "retriever" and refresh.rounds == [0, 1]
    expected = [("ranker", r, s, 2000 * r + s) for r in (0, 1) for s in range(500)]
    expected += [("retriever", 0, s, 500 + s) for s in range(1500)] + [("retriever", 1, 0, 2500)]
    assert seen == sorted(expected, key=lambda one: one[3])


def test_behind_the_last_step_there_is_none():
    refresh = Searches()
    phases = game(scalar(), scalar(), [], refresh, steps=(1, 2))
    assert phases.run() == 6 and phases.done and phases.phase is None and refresh.rounds == [0, 1]
    with pytest.raises(ValueError, match="all 6 steps are taken"):
        phases.step()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 3))
def test_every_step_of_a_round_has_one_owner(steps, rounds):
    learner, seen = scalar(), []
    record = lambda name: lambda turn: seen.append((name, turn.step)) or {"x": value(learner) ** 2}
    plan = [Phase(str(i), n, ("x",), record(str(i))) for i, n in enumerate(steps)]
    phases = Phases({"x": learner}, plan, rounds=rounds)
    names = []
    while not phases.done:
        names.append(phases.phase)
        phases.step()
    once = [(str(i), s) for i, n in enumerate(steps) for s in range(n)]
    assert seen == once * rounds and names == [name for name, _ in once] * rounds


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_all_gradients_are_taken_before_any_parameter_moves(order):
    a, b = scalar(2.0), scalar(3.0)
    # each cost holds the other's parameter, without detaching it: only the own gradient may count
    costs = {"a": lambda: value(a) ** 2 * value(b), "b": lambda: value(b) ** 2 * value(a)}
    plan = [Phase("both", 3, order, lambda turn: {name: costs[name]() for name in order})]
    Phases({"a": a, "b": b}, plan).run()
    x, y = 2.0, 3.0
    for _ in range(3):
        x, y = x - 0.1 * 2 * x * y, y - 0.1 * 2 * y * x
    assert value(a).item() == pytest.approx(x, rel=1e-5) and value(b).item() == pytest.approx(y, rel=1e-5)


def net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))


def nets(refresh=None, rounds=2, seed=5):
    """Two nets with dropout, AdamW and schedules; in `one` they meet, in `both` they learn at once."""
    learners = {}
    for name, start in (("g", 0), ("d", 1)):
        module = net(start)
        optimiser = torch.optim.AdamW(module.parameters(), lr=0.05)
        learners[name] = Learner(module, optimiser, steps=14, warmup=0.2, clip=0.5)
    g, d = learners["g"].module, learners["d"].module

    def drawn(turn):
        return torch.randn(6, 3, generator=turn.generator)

    def one(turn):
        x = drawn(turn)
        for piece in (x[:4], x[4:]):
            yield {"g": (g(piece) - d(piece)).square().sum()}

    def both(turn):
        x = drawn(turn)
        return {"g": (g(x) - 1).square().mean(), "d": (d(x) + g(x)).square().mean()}

    plan = [Phase("one", 3, ("g",), one), Phase("both", 4, ("g", "d"), both)]
    return Phases(learners, plan, rounds=rounds, refresh=refresh, seed=seed)


def states(phases):
    held = {}
    for name, learner in phases.learners.items():
        held |= {f"{name}.{key}": tensor.clone() for key, tensor in learner.module.state_dict().items()}
    return held


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_a_phase_does_not_train_stays_bit_by_bit_and_at_rest():
    phases = nets()
    before = states(phases)
    phases.run(until=3)
    after = states(phases)
    assert not phases.learners["d"].module.training and phases.learners["g"].module.training
    for name in before:  # the batch norm of d too: its running means are no parameters
        assert torch.equal(before[name], after[name]) == name.startswith("d."), name
    assert all(p.grad is None for p in phases.learners["d"].parameters)


@pytest.mark.parametrize("stop", range(15))
def test_a_run_that_goes_on_from_any_step_is_an_uninterrupted_one(stop):
    whole, refresh = nets(Searches()), Searches()
    whole.run()
    begun = nets(refresh)
    begun.run(until=stop)
    file = io.BytesIO()
    torch.save(begun.state_dict(), file)
    torch.manual_seed(999)  # torch's own state plays no part
    went_on = nets(Searches())
    went_on.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    assert went_on.phase == begun.phase and went_on.total == stop
    went_on.run()
    assert same(states(whole), states(went_on)) and went_on.refresh.rounds == [0, 1]


def test_the_state_says_where_the_run_stands():
    phases = nets(Searches())
    told = []
    for _ in range(8):
        told.append((phases.state_dict()["phase"], phases.state_dict()["round"], phases.state_dict()["total"]))
        phases.step()
    assert told == [
        ("refresh", 0, 0),
        ("one", 0, 1),
        ("one", 0, 2),
        *(("both", 0, i) for i in (3, 4, 5, 6)),
        ("refresh", 1, 7),
    ]


def test_steps_draw_by_seed_and_step_only_and_leave_torchs_own_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    one, other, third = nets(), nets(), nets(seed=6)
    torch.manual_seed(3)
    one.run()
    assert torch.equal(torch.rand(2), expected)
    torch.manual_seed(4)
    other.run()
    third.run()
    assert same(states(one), states(other)) and not same(states(one), states(third))


def test_pieces_of_a_batch_add_up():
    learner, other = scalar(1.0), scalar(1.0)
    Phases({"x": learner}, [Phase("p", 1, ("x",), lambda turn: [{"x": value(learner) * k} for k in (1, 2)])]).run()
    said = Phases({"x": other}, [Phase("p", 1, ("x",), lambda turn: {"x": value(other) * 3})]).step()
    assert value(learner).item() == value(other).item() == pytest.approx(0.7)
    assert said["x"].item() == 3.0 and not said["x"].requires_grad


def test_the_schedule_is_that_of_transformers_on_own_steps():
    from transformers import get_linear_schedule_with_warmup

    for n, warmup in ((7, 0.3), (5, 0.0), (20, 0.1)):
        ours = scalar(steps=n, warmup=warmup)
        twin = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=0.1)
        schedule = get_linear_schedule_with_warmup(twin, -int(-n * warmup // 1), n)
        for _ in range(n):
            ours.update([torch.ones(())])
            assert ours.optimiser.param_groups[0]["lr"] == pytest.approx(twin.param_groups[0]["lr"])
            twin.step()
            schedule.step()


def test_gradients_are_clipped_together():
    module = nn.ParameterList([nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))])
    learner = Learner(module, torch.optim.SGD(module.parameters(), lr=1.0), clip=1.0)
    learner.update([torch.tensor([3.0, 0.0]), torch.tensor([4.0])])
    moved = torch.cat([module[0].detach(), module[1].detach()])
    torch.testing.assert_close(moved, torch.tensor([-0.6, 0.0, -0.8]))


def test_frozen_gives_every_module_its_own_mode_back():
    module = net(0).train()
    module[2].eval()
    with frozen(module):
        assert not any(part.training for part in module.modules()) and not torch.is_grad_enabled()
    assert [part.training for part in module] == [True, True, False, True] and torch.is_grad_enabled()


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 5))
def test_rows_come_once_in_every_pass(rows, size, seed):
    seen = [rows_of_step(step, size, rows, seed) for step in range(2 * rows)]
    chosen, epoch = (
        list(torch.tensor(part).flatten().tolist())
        for part in zip(*[(a.tolist(), e.tolist()) for a, e in seen], strict=True)
    )
    assert epoch == [i // rows for i in range(len(chosen))]
    for start in range(0, len(chosen) - rows + 1, rows):
        assert sorted(chosen[start : start + rows]) == list(range(rows))
    again = rows_of_step(rows, size, rows, seed)
    assert again[0].tolist() == seen[rows][0].tolist()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"plan": []}, "phases must have different names"),
        ({"plan": [("a", 1, ("x",)), ("a", 1, ("x",))]}, "phases must have different names"),
        ({"plan": [("refresh", 1, ("x",))]}, ".*none of them 'refresh'"),
        ({"plan": [("a", 0, ("x",))]}, "steps of 'a' must be a whole number >= 1, got 0"),
        ({"plan": [("a", 1, ("y",))]}, r"'a' must train some of \['x'\], got \['y'\]"),
        ({"plan": [("a", 1, ())]}, "'a' must train some of"),
        ({"plan": [("a", 1, ("x",))], "rounds": 0}, "rounds must be a whole number >= 1, got 0"),
    ],
)
def test_gates_of_phases(change, message):
    plan = [Phase(name, steps, trains, lambda turn: {}) for name, steps, trains in change["plan"]]
    with pytest.raises(ValueError, match=f"Phases: {message}"):
        Phases({"x": scalar()}, plan, rounds=change.get("rounds", 1))


@pytest.mark.parametrize("options", [{"steps": 0}, {"warmup": 1.0}, {"warmup": float("nan")}, {"clip": 0.0}])
def test_gates_of_learners(options):
    with pytest.raises(ValueError, match=f"Learner: {next(iter(options))} must be"):
        scalar(**options)


def test_costs_of_the_wrong_learner_and_foreign_states_are_refused():
    a, b = scalar(), scalar()
    phases = Phases({"a": a, "b": b}, [Phase("p", 1, ("a",), lambda turn: {"b": value(b)})])
    with pytest.raises(ValueError, match=r"Phases: 'p' trains \['a'\], got costs of \['b'\]"):
        phases.step()
    with pytest.raises(ValueError, match="gave no costs"):
        Phases({"a": a}, [Phase("p", 1, ("a",), lambda turn: [])]).step()
    with pytest.raises(ValueError, match="the state is of another plan"):
        nets(seed=1).load_state_dict(nets(seed=2).state_dict())


def test_a_stopped_run_goes_on_to_the_same_weights_and_curve(tmp_path):
    def kept(phases, name):
        folder = RunFolder(tmp_path / name, {"of": "test"})
        folder.open(True)
        return run_kept(phases, folder, log_every=3, checkpoints=5)[0]

    whole, refresh = nets(Searches()), Searches()
    curve = kept(whole, "whole")
    assert [entry["step"] for entry in curve] == [3, 6, 9, 12, 14] and set(curve[1]) == {"step", "loss", "g", "d"}

    class Stops(Searches):
        def __call__(self, round):
            super().__call__(round)
            if round == 1:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="stopped after step 8"):
        kept(nets(Stops()), "stopped")
    went_on = nets(refresh)
    assert kept(went_on, "stopped") == curve
    assert same(states(whole), states(went_on)) and refresh.rounds == [0, 1]


def test_a_cost_that_is_no_number_ends_the_run(tmp_path):
    learner = scalar()
    phases = Phases({"x": learner}, [Phase("p", 4, ("x",), lambda turn: {"x": value(learner) * torch.nan})])
    folder = RunFolder(tmp_path / "run", {})
    folder.open(True)
    with pytest.raises(FloatingPointError, match="step 2: the costs are"):
        run_kept(phases, folder, log_every=2)
