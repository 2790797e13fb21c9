import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.recipe import RecipeError, load_recipe, make_recipe
from litotes.recipe.schema import ARMS

DEFAULT = Path(__file__).parents[2] / "recipes" / "default.toml"


def faults(raw):
    """The faults of a recipe, one text each."""
    with pytest.raises(RecipeError) as error:
        make_recipe({"name": "x"} | raw, "here")
    head, *lines = str(error.value).split("\n")
    assert head == f"here: {len(lines)} fault{'s' if len(lines) > 1 else ''}"
    assert all(line.startswith("  ") for line in lines)
    return [line[2:] for line in lines]


def test_the_default_recipe_says_what_the_defaults_are_apart_from_its_size():
    recipe, bare = load_recipe(DEFAULT), make_recipe({"name": "default"})
    assert recipe.arms == bare.arms == ARMS
    for section in ("encoder", "mine", "vet", "train", "evaluate", "report"):
        assert getattr(recipe, section) == getattr(bare, section), section
    assert (recipe.minutes, bare.minutes) == (8, None)


def test_an_arm_takes_what_it_does_not_say_from_the_sections():
    recipe = make_recipe({
        "name": "x", "mine": {"sources": ["bm25()"]}, "vet": {"vetters": []}, "train": {"negatives": 3},
        "arms": [
            {"name": "a", "title": "A"},
            {"name": "b", "title": "B", "sources": [], "negatives": 0, "objective": "hinge()"},
        ],
    })  # fmt: skip
    a, b = recipe.arm("a"), recipe.arm("b")
    assert (a.sources, a.vetters, a.negatives, a.objective) == (["bm25()"], [], 3, recipe.train.objective)
    assert (b.sources, b.vetters, b.negatives, b.objective) == ([], [], 0, "hinge()")


FAULTS = {
    "train": ({"lr": -1.0}, "train.lr: input should be greater than 0, got -1.0"),
    "colection": ({}, "colection: unknown key; allowed here: arms, collection, encoder"),
    "encoder": ({"dtype": "int8"}, "encoder.dtype: input should be 'auto', 'float32', 'bfloat16' or 'float16', got"),
    "mine": ({"sources": ["dense(depth=0)"]}, "mine.sources[0]: "),
    "vet": (
        {"vetters": ["same_text()", "relativ_margin()"]},
        "vet.vetters[1]: no part is called 'relativ_margin'; did",
    ),
    "evaluate": ({"depth": 50}, "evaluate: depth must be >= 100 for Recall@100, got 50"),
    "seed": (-1, "seed: input should be greater than or equal to 0, got -1"),
    "report": ({"example": 3}, "report.example: unknown key; allowed here: examples"),
    "arms": (
        [{"name": "a", "titel": "A"}],
        "arms[0].titel: unknown key; allowed here: batcher, name, negatives, objective",
    ),
}


@given(st.sets(st.sampled_from(sorted(FAULTS)), min_size=1))
def test_all_faults_are_said_at_once_each_with_its_key(wrong):
    said = faults({key: FAULTS[key][0] for key in wrong})
    for key in wrong:
        assert sum(line.startswith(FAULTS[key][1]) for line in said) == 1, (key, said)
    extra = 1 if "arms" in wrong else 0  # the misspelt title is missing too
    assert len(said) == len(wrong) + extra


@pytest.mark.parametrize(
    "raw, said",
    [
        ({"train": {"negatives": 2.0}}, "train.negatives: input should be a valid integer, got 2.0"),
        ({"train": {"epochs": True}}, "train.epochs: input should be a valid integer, got True"),
        ({"train": {"lr": float("nan")}}, "train.lr: input should be a finite number, got nan"),
        ({"train": {"warmup": 1.0}}, "train.warmup: input should be less than 1, got 1.0"),
        ({"train": 3}, "train: expected a table, got 3"),
        ({"train": {"objective": "relative_margin()"}}, "train.objective: relative_margin is a vetter"),
        ({"train": {"objective": "infonce(heat=1)"}}, "train.objective: infonce has no argument 'heat'"),
        ({"vet": {"vetters": ["gist()"]}}, "vet.vetters[0]: gist is a vetter at tensor scale"),
        ({"minutes": 0}, "minutes: input should be greater than 0, got 0"),
        ({"name": "a/b"}, "name: string should match pattern"),
        ({"collection": {"test_queries": 1}}, "collection.test_queries: input should be greater than 1, got 1"),
        ({"collection": {"test_split": "train"}}, "collection: train_split and test_split must differ"),
        ({"collection": {"source": "x", "documents": 9}}, "collection: documents and field are for source"),
        ({"collection": {"source": "x", "field": "lemmas"}}, "collection: documents and field are for source"),
        ({"evaluate": {"measures": []}}, "evaluate.measures: list should have at least 1 item"),
        ({"evaluate": {"measures": ["nDGC@10"]}}, "evaluate: 'nDGC@10' is no measure that ir_measures knows"),
        ({"evaluate": {"measures": ["RR@10", "MRR@10"]}}, "evaluate: measures must differ, got MRR@10 twice"),
        ({"arms": []}, "arms: list should have at least 1 item"),
        ({"arms": [{"name": "a", "title": "A"}, {"name": "a", "title": "B"}]}, "arms: names must differ, got a, a"),
        ({"arms": [{"name": "A b", "title": "A"}]}, "arms[0].name: string should match pattern"),
        ({"arms": [{"name": "a"}]}, "arms[0].title: missing"),
        ({"arms": [{"name": "a", "title": "A", "vetters": ["x()"]}]}, "arms[0].vetters[0]: no part is called 'x'"),
        ({"arms": [{"name": "a", "title": "A", "train": False, "sources": []}]},
         "arms[0]: an arm with train = false has no use for sources"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_what_is_allowed(raw, said):
    (line,) = faults(raw)
    assert line.startswith(said)


@pytest.fixture
def written(tmp_path):
    def write(text, name="my-recipe.toml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_the_name_defaults_to_the_file_and_can_be_said_or_set(written):
    assert load_recipe(written("seed = 1")).name == "my-recipe"
    assert load_recipe(written('name = "other"')).name == "other"
    assert load_recipe(written('name = "other"'), ["name=third"]).name == "third"
    with pytest.raises(RecipeError, match="name: string should match pattern"):
        load_recipe(written("", "with space.toml"))


def test_a_byte_order_mark_does_no_harm(written):
    assert load_recipe(written(b"\xef\xbb\xbfseed = 3\r\n")).seed == 3


@pytest.mark.parametrize(
    "override, key, value",
    [
        ("train.lr=5e-5", ("train", "lr"), 5e-5),
        ("train.lr = 1", ("train", "lr"), 1),
        ("train.epochs=0x10", ("train", "epochs"), 16),
        ("encoder.model=BAAI/bge-small-en", ("encoder", "model"), "BAAI/bge-small-en"),
        ('encoder.model="12"', ("encoder", "model"), "12"),
        ("encoder.query_prompt='a = b'", ("encoder", "query_prompt"), "a = b"),
        ("encoder.query_prompt=query: x=y", ("encoder", "query_prompt"), "query: x=y"),
        ('encoder.query_prompt=""', ("encoder", "query_prompt"), ""),
        ("train.objective=hinge(margin=0.2)", ("train", "objective"), "hinge(margin=0.2)"),
        ('mine.sources=["bm25()", "random(depth=3)"]', ("mine", "sources"), ["bm25()", "random(depth=3)"]),
        ("vet.vetters=[]", ("vet", "vetters"), []),
        ("collection={documents = 500}", ("collection", "documents"), 500),
        ("minutes=", ("minutes",), None),
        ("collection.documents=", ("collection", "documents"), None),
    ],
)
def test_values_of_every_toml_type_can_be_set(written, override, key, value):
    found = load_recipe(written("minutes = 3\n[collection]\ndocuments = 77\n"), [override])
    for step in key:
        found = getattr(found, step)
    assert found == value and type(found) in (type(value), float)


def test_a_truth_value_and_the_arms_can_be_set(written):
    arms = load_recipe(written(""), ['arms=[{name="a", title="A", train=false}]']).arms
    assert [(arm.name, arm.train) for arm in arms] == [("a", False)]


@pytest.mark.parametrize(
    "override, said",
    [
        ("train.lr", "expected key=value"),
        ("=3", "expected key=value"),
        ("train..lr=3", "expected key=value"),
        ("seed.x=3", "'seed' is no table"),
        ("mine.sources=[dense(depth=5)]", "not TOML"),
        ('encoder.model="half', "not TOML"),
        ("seed=1\nminutes=2", "expected one value"),
        ("train.seed=3", "train.seed: unknown key; allowed here: batch_size"),
        ("seed=1979-05-27", f"seed: input should be a valid integer, got {datetime.date(1979, 5, 27)!r}"),
    ],
)
def test_an_override_that_cannot_be_is_named(written, override, said):
    with pytest.raises(RecipeError) as error:
        load_recipe(written("seed = 1"), [override])
    assert said in str(error.value)


def test_later_overrides_win_and_the_file_is_not_needed_to_have_the_section(written):
    recipe = load_recipe(written(""), ["train.lr=1e-3", "train.epochs=2", "train.lr=1e-4"])
    assert (recipe.train.lr, recipe.train.epochs, recipe.train.batch_size) == (1e-4, 2, 32)


def test_a_file_that_is_none_or_no_toml_is_named(written, tmp_path):
    for nothing in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(RecipeError, match="no recipe at"):
            load_recipe(nothing)
    with pytest.raises(RecipeError, match=r"my-recipe.toml: not TOML: .*line 2"):
        load_recipe(written("seed = 1\nseed 2"))
    with pytest.raises(RecipeError, match="not TOML"):
        load_recipe(written(b"name = '\xff'"))
    with pytest.raises(RecipeError, match=r"my-recipe.toml: 1 fault\n  minuts: unknown key"):
        load_recipe(written("minuts = 1"))
