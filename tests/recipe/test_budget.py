from hypothesis import given
from hypothesis import strategies as st

from litotes.recipe.budget import FEWEST, Budget, project

asked = st.fixed_dictionaries({
    "anchors": st.integers(1, 50_000),
    "epochs": st.integers(1, 4),
    "seconds_per_text": st.floats(0, 0.2),
    "texts_per_anchor": st.dictionaries(st.sampled_from("abcd"), st.floats(2, 10), min_size=1),
    "spent": st.floats(0, 500),
    "seconds_per_evaluation": st.floats(0, 100),
})  # fmt: skip
minutes = st.floats(0.01, 500)


def of(given, minutes):
    return project(**given | {"anchors": given["anchors"] * given["epochs"]}, minutes=minutes)


@given(asked, minutes)
def test_never_more_than_asked_nor_fewer_than_the_floor(given, minutes):
    budget = of(given, minutes)
    assert budget.asked == given["anchors"]
    assert min(FEWEST, budget.asked) <= budget.used <= budget.asked
    assert (budget.why is None) == (budget.projected <= minutes * 60)
    assert budget.used == budget.asked or budget.why


@given(asked, minutes, minutes)
def test_more_minutes_never_give_fewer_anchors(given, one, other):
    less, more = (of(given, m) for m in sorted([one, other]))
    assert less.used <= more.used and less.projected == more.projected


@given(asked, minutes)
def test_what_is_used_fits_into_the_minutes_unless_it_says_that_it_does_not(given, minutes):
    budget = of(given, minutes)
    as_used = of(given | {"anchors": budget.used}, 1e9).projected
    late = bool(budget.why) and "takes longer all the same" in budget.why
    assert as_used <= minutes * 60 * (1 + 1e-9) or late
    if late:
        assert budget.used == min(FEWEST, budget.asked)


HAND = {
    "anchors": 1000, "seconds_per_text": 0.01, "texts_per_anchor": {"a": 2.0, "b": 4.0}, "spent": 20.0,
    "seconds_per_evaluation": 5.0,
}  # fmt: skip


def test_the_arithmetic_by_hand():
    # 1000 anchors x 6 texts x 0.01 s = 60 s of training, 20 s spent, 2 evaluations of 5 s: 90 s
    assert project(**HAND, minutes=1.5) == Budget(1000, 1000, 90.0, None)
    # 60 s allowed leave 30 s for training: half
    half = project(**HAND, minutes=1.0)
    assert (half.asked, half.used, half.projected) == (1000, 500, 90.0)
    assert half.why == (
        "all arms were shrunk from 1,000 to 500 training anchors: at the measured rate the run as asked would take 1.5 "
        "minutes, more than the 1 of the recipe"
    )
    # two epochs of 500 anchors are as long as one of 1000; half of 500 are left
    assert project(**HAND, minutes=1.0, epochs=2).used == 250


def test_at_the_floor_it_says_that_the_time_will_not_be_kept():
    floor = project(**HAND, minutes=0.5)  # 30 s are spent already
    assert floor.used == 100 and "with 100 anchors, the fewest an arm is trained on, it takes longer" in floor.why
    few = project(**HAND | {"anchors": 60}, minutes=0.5)
    assert (few.asked, few.used) == (60, 60) and few.why.startswith("nothing was shrunk: ")
    still = project(**HAND | {"seconds_per_text": 0.0}, minutes=0.1)  # evaluation alone is too long
    assert still.used == 100 and "takes longer all the same" in still.why
