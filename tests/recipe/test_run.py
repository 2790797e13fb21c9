import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from litotes import catalog
from litotes.audit.results_schema import check_results
from litotes.evidence import Evidence
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.recipe import load_recipe
from litotes.recipe.experiment import Experiment
from litotes.recipe.run import run
from litotes.recipe.task import load_task
from litotes.spelling import spell


def steps(folder):
    """Name -> fingerprint and seconds of the finished steps of a run."""
    return json.loads((folder / "seed-0" / "manifest.json").read_text())["steps"]


def without(results, *keys):
    return {key: value for key, value in results.items() if key not in keys}


def evidence_of(ran, arm):
    """The evidence an arm was trained on, as rows, found by what the manifest says of its mining."""
    recipe = load_recipe(ran.recipe)
    experiment = Experiment(recipe, ran.folder / "seed-0", 0)
    return Evidence.open(experiment._mined(recipe.arm(arm))).read().to_pylist()


def chosen_by_hand(rows, n):
    """Per anchor the n best-scored believed negatives."""
    kept = []
    for anchor in sorted({row["anchor"] for row in rows}):
        field = [r for r in rows if r["anchor"] == anchor and r["sign"] < 0 and r["weight"] > 0]
        kept += sorted(field, key=lambda r: (-r["score"], r["candidate"]))[:n]
    return kept


def test_the_results_of_a_run_are_of_the_schema_and_on_disk(ran):
    checked = check_results(ran.results)
    assert json.loads((ran.folder / "results.json").read_text()) == ran.results
    assert [arm.name for arm in checked.arms] == ["plain", "mined", "vetted"]
    assert checked.collection.model_dump(include={"documents", "train_anchors", "test_queries"}) == {
        "documents": len(load_task(load_recipe(ran.recipe), 0).corpus), "train_anchors": 60, "test_queries": 30,
    }  # fmt: skip
    assert checked.interval_label == "95 % paired bootstrap over queries, one seed" and checked.seeds == [0]
    assert (ran.folder / "report.html").read_text().count("what rejecting at random would reach") == 1
    assert (ran.folder / "recipe.toml").read_text().strip() == ran.recipe.read_text().strip()


def test_counts_of_negatives_are_those_of_the_evidence(ran):
    task = load_task(load_recipe(ran.recipe), 0)
    related = {(r["query"], r["document"]) for r in task.related.to_pylist()}
    believed = {(r["anchor"], r["candidate"]) for r in evidence_of(ran, "vetted") if r["weight"] > 0}
    for arm in ran.results["arms"][1:]:
        pairs = [(r["anchor"], r["candidate"]) for r in chosen_by_hand(evidence_of(ran, arm["name"]), 2)]
        assert arm["negatives"] == len(pairs) > 0
        assert arm["suspicious"] == pytest.approx(np.mean([pair in related for pair in pairs]))
        # both arms mined the same candidates: what the vetted one does not believe is judged false in the other
        assert arm["judged_false"] == pytest.approx(np.mean([pair not in believed for pair in pairs]))
    mined, vetted = ran.results["arms"][1:]
    assert vetted["judged_false"] == 0 < mined["judged_false"]
    assert ran.results["arms"][0]["negatives"] == 0 and ran.results["arms"][0]["judged_false"] is None


def test_vetting_is_counted_against_the_truth(ran):
    task = load_task(load_recipe(ran.recipe), 0)
    related = {(r["query"], r["document"]) for r in task.related.to_pylist()}
    rows = [r for r in evidence_of(ran, "vetted") if r["sign"] < 0]
    suspicious = np.array([(r["anchor"], r["candidate"]) in related for r in rows])
    rejected = np.array([r["weight"] == 0 for r in rows])
    truth = ran.results["vetting"]["truth"]
    assert suspicious[rejected].sum() > 0 and rejected.any() and not rejected.all()
    assert truth["base"] == pytest.approx(suspicious.mean())
    assert truth["precision"] == pytest.approx(suspicious[rejected].mean())
    assert truth["recall"] == pytest.approx(rejected[suspicious].mean())
    assert ran.results["vetting"]["parts"] == [
        {"part": "relative_margin(margin=0.005, reference=min)", "doubted": int(rejected.sum())}
    ]
    scores = ran.results["scores"]
    assert (sum(scores["kept"]), sum(scores["rejected"])) == (int((~rejected).sum()), int(rejected.sum()))
    assert sum(scores["positives"]) == sum(r["sign"] > 0 for r in evidence_of(ran, "vetted"))


def test_values_and_intervals_are_those_of_the_queries(ran):
    values = {
        arm: pq.read_table(ran.folder / "seed-0" / "evaluations" / f"{arm}.parquet").to_pandas()
        for arm in ("plain", "mined", "vetted")
    }
    for arm in ran.results["arms"]:
        for measure, said in arm["metrics"].items():
            mine, plain = (values[name][measure].to_numpy() for name in (arm["name"], "plain"))
            assert said["value"] == pytest.approx(mine.mean())
            assert interval(mine) == pytest.approx(said["interval"])
            if arm["name"] == "plain":
                assert said["change"] is None
                continue
            assert said["change"]["value"] == pytest.approx(mine.mean() - plain.mean())
            assert interval(mine - plain) == pytest.approx(said["change"]["interval"])


def interval(values):
    if np.ptp(values) == 0:
        return [values[0], values[0]]
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=200, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval  # fmt: skip
    return [found.low, found.high]


def test_examples_are_spread_and_show_what_the_evidence_holds(ran):
    examples, rows = ran.results["examples"], evidence_of(ran, "vetted")
    order = sorted({row["anchor"] for row in rows})
    places = [order.index(example["query_id"]) for example in examples]
    assert len(places) == 7 and places[0] == 0 and places[-1] == 59 and min(np.diff(places)) >= 9
    for example in examples:
        mine = [row for row in rows if row["anchor"] == example["query_id"]]
        rejected = [r["score"] for r in mine if r["sign"] < 0 and r["weight"] == 0]
        assert [e["score"] for e in example["rejected"]] == sorted(rejected, reverse=True)[:4]
        assert all(e["reason"].startswith("relative_margin") and e["source"] == "dense" for e in example["rejected"])
        assert len(example["positives"]) == min(4, sum(r["sign"] > 0 for r in mine))


def test_training_is_told(ran):
    for arm in ran.results["arms"][1:]:
        assert arm["steps"] == 3  # 60 anchors, 20 a batch
        assert [point["step"] for point in ran.results["curves"][arm["name"]]] == [1, 2, 3]
        assert arm["seconds"]["total"] == pytest.approx(sum(arm["seconds"][k] for k in ("train", "evaluate", "mine")))
        assert min(arm["seconds"][k] for k in ("train", "evaluate", "mine")) > 0
    assert ran.results["arms"][0]["seconds"] | {"evaluate": 0, "total": 0} == dict.fromkeys(
        ("train", "evaluate", "mine", "total"), 0
    )


def copy_of(ran, tmp_path):
    """The finished run, to be changed."""
    shutil.copytree(ran.folder, tmp_path / "runs" / "tiny")
    return tmp_path / "runs" / "tiny"


def test_a_second_run_does_no_step_again_and_says_the_same(ran, tmp_path):
    folder = copy_of(ran, tmp_path)
    before, models = steps(folder), sorted((folder / "seed-0" / "models").rglob("*"))
    stamps = [file.stat().st_mtime_ns for file in models]
    again = run(ran.recipe, runs=tmp_path / "runs")
    assert without(again, "created") == without(ran.results, "created")
    assert steps(folder) == before and [file.stat().st_mtime_ns for file in models] == stamps


def changed(before, after):
    return {name.split()[0] + " " + name.split()[-1][:6] for name in after if before.get(name) != after[name]}


@pytest.mark.parametrize(
    "override, redone",
    [
        ("report.examples=2", set()),
        ("evaluate.resamples=100", set()),
        ("train.lr=5e-5", {"train mined", "train vetted", "evaluate mined", "evaluate vetted"}),
        ("evaluate.depth=10", {"evaluate plain", "evaluate mined", "evaluate vetted"}),
        ("vet.vetters=['absolute_margin(margin=0.01)']", {"mine", "train vetted", "evaluate vetted"}),
    ],
)
def test_a_changed_input_redoes_its_step_and_what_depends_on_it(ran, tmp_path, override, redone):
    folder = copy_of(ran, tmp_path)
    before = steps(folder)
    made = run(ran.recipe, overrides=[override], runs=tmp_path / "runs")
    check_results(made)
    found = changed(before, steps(folder))
    assert {name if not name.startswith("mine") else "mine" for name in found} == redone
    assert f"# --set {override}" in made["recipe_toml"]


def test_a_renamed_title_trains_nothing_again(ran, tmp_path):
    folder, path = copy_of(ran, tmp_path), tmp_path / "tiny.toml"
    before = steps(folder)
    path.write_text(ran.recipe.read_text().replace('title = "mined"', 'title = "something else"'))
    assert run(path, runs=tmp_path / "runs")["arms"][1]["title"] == "something else"
    assert steps(folder) == before


def test_what_was_deleted_is_made_again_to_the_same_figures(ran, tmp_path):
    folder = copy_of(ran, tmp_path)
    seed = folder / "seed-0"
    (seed / "evaluations" / "mined.parquet").unlink()
    shutil.rmtree(seed / "models" / "vetted")
    shutil.rmtree(seed / "evidence")
    before = steps(folder)
    again = run(ran.recipe, runs=tmp_path / "runs")
    figures = lambda results: [without(arm, "seconds") for arm in results["arms"]]
    assert figures(again) == figures(ran.results) and again["vetting"] == ran.results["vetting"]
    redone = {name for name in steps(folder) if steps(folder)[name]["seconds"] != before[name]["seconds"]}
    assert {"evaluate mined", "train vetted"} <= redone and "train mined" not in redone
    assert len([name for name in redone if name.startswith("mine ")]) == 2


@pytest.mark.slow
def test_train_and_test_may_change_places(ran, tmp_path):
    folder = copy_of(ran, tmp_path)
    before = steps(folder)
    swapped = ["collection.train_split=test", "collection.test_split=train", "collection.train_anchors=30",
               "collection.test_queries=60"]  # fmt: skip
    made = run(ran.recipe, overrides=swapped, runs=tmp_path / "runs")
    assert (made["collection"]["train_anchors"], made["collection"]["test_queries"]) == (30, 60)
    assert steps(folder)["evaluate plain"]["fingerprint"] != before["evaluate plain"]["fingerprint"]


# -- an interrupted run: parts that press Ctrl-C once, if a file is there


def _press(flag):
    if Path(flag).exists():
        Path(flag).unlink()
        raise KeyboardInterrupt


@dataclass(frozen=True)
class StopsMining:
    flag: str

    def __call__(self, evidence: pa.Table, collection=None) -> pa.Table:
        _press(self.flag)
        return evidence

    def __str__(self) -> str:
        return spell(self)


class StopsTraining(InfoNCE):
    def __init__(self, flag: str, after: int = 1):
        super().__init__()
        self.flag, self.after, self.seen = flag, after, 0

    def forward(self, batch, *, now=None, generator=None):
        self.seen += 1
        if self.seen > self.after:
            _press(self.flag)
        return super().forward(batch)

    def __str__(self) -> str:
        return f"stops_training(flag='{self.flag}', after={self.after})"


@pytest.fixture
def stopping_parts(monkeypatch):
    module = ModuleType("parts_that_stop")
    module.StopsMining, module.StopsTraining = StopsMining, StopsTraining
    monkeypatch.setitem(sys.modules, "parts_that_stop", module)
    more = [
        catalog.Entry("stops_mining", "parts_that_stop:StopsMining", "vetter", "disk", "stops"),
        catalog.Entry("stops_training", "parts_that_stop:StopsTraining", "objective", "tensor", "stops"),
    ]
    monkeypatch.setattr(catalog, "ENTRIES", (*catalog.ENTRIES, *more))


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("mining", marks=pytest.mark.slow),
        "training",
        pytest.param("between", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_ends_in_the_same_figures(tiny_recipe, tmp_path, stopping_parts, where):
    flag = tmp_path / "flag"
    mining, training = f"stops_mining(flag='{flag}')", f"stops_training(flag='{flag}')"
    chosen = {
        "mining": [f'vet.vetters=["relative_margin(margin=0.005)", "{mining}"]'],
        "training": [f'train.objective="{training}"', "arms=" + ARMS],
        "between": ["arms=" + ARMS.replace("hinge()", training)],
    }[where]
    whole = run(tiny_recipe, overrides=chosen, runs=tmp_path / "whole")
    flag.touch()
    with pytest.raises(KeyboardInterrupt):
        run(tiny_recipe, overrides=chosen, runs=tmp_path / "cut")
    assert not flag.exists() and not (tmp_path / "cut" / "tiny" / "results.json").exists()
    finished = steps(tmp_path / "cut" / "tiny")
    resumed = run(tiny_recipe, overrides=chosen, runs=tmp_path / "cut")
    after = steps(tmp_path / "cut" / "tiny")
    assert {name: after[name] for name in finished} == finished  # nothing that was finished is done again
    figures = lambda results: [without(arm, "seconds") for arm in results["arms"]]
    assert figures(resumed) == figures(whole) and resumed["curves"] == whole["curves"]
    assert resumed["examples"] == whole["examples"]


def test_after_an_interruption_other_inputs_may_be_chosen(tiny_recipe, tmp_path, stopping_parts):
    flag = tmp_path / "flag"
    flag.touch()
    arms = "arms=" + ARMS.replace("hinge()", f"stops_training(flag='{flag}')")
    with pytest.raises(KeyboardInterrupt):
        run(tiny_recipe, overrides=[arms], runs=tmp_path / "runs")
    made = run(tiny_recipe, overrides=[arms, "train.lr=5e-5"], runs=tmp_path / "runs")
    assert len(made["arms"]) == 3
    left = list((tmp_path / "runs" / "tiny" / "seed-0" / "models").glob("*.partial"))
    assert left == []


ARMS = """[
    {name = "plain", title = "p", train = false},
    {name = "mined", title = "m", vetters = []},
    {name = "other", title = "o", objective = "hinge()"},
]"""


# -- other shapes of an experiment


def test_several_seeds_give_t_intervals_over_seeds(tiny_recipe, tmp_path):
    made = run(tiny_recipe, seeds=2, runs=tmp_path / "runs", overrides=["seed=3", "train.lr=1e-2"])
    assert made["seeds"] == [3, 4] and made["interval_label"] == "95 % paired t interval over 2 seeds"
    means = {
        arm: [
            pq.read_table(tmp_path / "runs" / "tiny" / f"seed-{seed}" / "evaluations" / f"{arm}.parquet")["MAP"]
            .to_numpy()
            .mean()
            for seed in (3, 4)
        ]
        for arm in ("plain", "vetted")
    }
    said = made["arms"][2]["metrics"]["MAP"]
    differences = np.subtract(means["vetted"], means["plain"])
    reach = stats.t.ppf(0.975, 1) * abs(differences[0] - differences[1]) / 2
    assert said["value"] == pytest.approx(np.mean(means["vetted"]))
    assert said["change"]["value"] == pytest.approx(differences.mean())
    assert said["change"]["interval"] == pytest.approx([differences.mean() - reach, differences.mean() + reach])
    assert said["change"]["p"] == pytest.approx(stats.ttest_rel(means["vetted"], means["plain"]).pvalue)
    assert any("counts, vetting, curves and examples are of seed 3" in note for note in made["notes"])


def test_no_untrained_arm_no_sources_no_negatives_no_truth(tiny_model, tmp_path):
    source = tmp_path / "set"
    (source / "qrels").mkdir(parents=True)
    lines = lambda rows: "".join(json.dumps(row) + "\n" for row in rows)
    (source / "corpus.jsonl").write_text(lines({"_id": f"d{i}", "text": f"a word {chr(97 + i)}"} for i in range(20)))
    (source / "queries.jsonl").write_text(lines({"_id": f"q{i}", "text": f"ask {chr(97 + i)}"} for i in range(20)))
    for split, rows in (("train", range(12)), ("test", range(12, 20))):
        judged = "".join(f"q{i}\td{i}\t1\nq{i}\td{(i + 3) % 20}\t0\n" for i in rows)
        judged += "q19\td1\t0\n" if split == "train" else ""  # an anchor without a positive has no training row
        (source / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    path = tmp_path / "bare.toml"
    path.write_text(f"""
        vet = {{vetters = []}}
        evaluate = {{measures = ["MAP"], depth = 50, resamples = 100}}
        collection = {{source = "{source}"}}
        encoder = {{model = "{tiny_model}", max_length = 8}}
        train = {{batch_size = 4, precision = "fp32"}}
        arms = [
            {{name = "in-batch", title = "in-batch only", sources = [], negatives = 0}},
            {{name = "judged", title = "judged only", sources = [], negatives = 2}},
            {{name = "late", title = "late", train = false}},
        ]
    """)
    made = run(path, runs=tmp_path / "runs")
    check_results(made)
    in_batch, judged, late = made["arms"]
    assert late["metrics"]["MAP"]["change"] is None and in_batch["metrics"]["MAP"]["change"] is not None
    assert (in_batch["negatives"], in_batch["judged_false"], in_batch["seconds"]["mine"]) == (0, None, 0)
    assert (judged["negatives"], judged["judged_false"], judged["suspicious"]) == (12, None, None)
    assert made["vetting"] is None and made["examples"] == [] and made["collection"]["note"] is None
    assert "judged only: 12 of 12 anchors have fewer than 2 believed negatives" in made["notes"]

    trained = run(path, runs=tmp_path / "runs", overrides=[
        'arms=[{name="in-batch", title="I", sources=[], negatives=0}, {name="b", title="B", sources=["bm25(depth=3)"]}]'
    ])  # fmt: skip
    assert trained["arms"][0]["metrics"]["MAP"]["change"] is None
    assert trained["arms"][1]["metrics"]["MAP"]["change"] is not None
    assert any(note == "no arm is untrained: changes are against the first, I" for note in trained["notes"])


@pytest.mark.slow
def test_a_budget_too_small_shrinks_all_arms_alike_and_says_so(tiny_recipe, tmp_path):
    wide = ["collection.train_anchors=130", "train.epochs=2"]
    made = run(tiny_recipe, runs=tmp_path / "runs", overrides=[*wide, "minutes=0.001"])
    assert made["collection"]["train_anchors"] == 100
    assert [arm["steps"] for arm in made["arms"]] == [0, 10, 10]  # 100 anchors, 20 a batch, twice
    assert any("all arms were shrunk from" in note and "to 100 training anchors" in note for note in made["notes"])
    assert not list((tmp_path / "runs" / "tiny" / "seed-0").glob("probe*"))
    before = steps(tmp_path / "runs" / "tiny")
    run(tiny_recipe, runs=tmp_path / "runs", overrides=[*wide, "minutes=0.001"])
    assert steps(tmp_path / "runs" / "tiny") == before
    plenty = run(tiny_recipe, runs=tmp_path / "runs", overrides=[*wide, "minutes=60"])
    assert plenty["collection"]["train_anchors"] == 130 and not any("shrunk" in note for note in plenty["notes"])


def test_what_earlier_recipes_took_is_not_counted_as_spent(ran, tmp_path):
    folder = copy_of(ran, tmp_path)
    file = folder / "seed-0" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["steps"]["train mined"]["seconds"] = 1e6
    manifest["steps"]["mine of-another-recipe"] = manifest["steps"]["train mined"]
    file.write_text(json.dumps(manifest))
    run(ran.recipe, runs=tmp_path / "runs", overrides=["minutes=30", "train.lr=1e-4"])
    assert steps(folder)["budget"]["gives"]["projected"] < 1000


def test_seeds_must_be_at_least_one(tiny_recipe, tmp_path):
    with pytest.raises(ValueError, match="run: seeds must be >= 1, got 0"):
        run(tiny_recipe, seeds=0, runs=tmp_path)
    assert not list(tmp_path.glob("tiny/*"))


def test_arms_may_name_a_batcher_refreshed_negatives_or_a_whole_trainer(tiny_model, tmp_path):
    recipe = tmp_path / "ways.toml"
    recipe.write_text(f"""
[collection]
documents = 300
train_anchors = 40
test_queries = 10

[encoder]
model = "{tiny_model}"
dtype = "float32"

[train]
batch_size = 10
epochs = 2
precision = "fp32"
refresh = 3

[evaluate]
measures = ["MRR@10"]
depth = 10
resamples = 100

[[arms]]
name = "ngame"
title = "clusters meet"
batcher = "ngame(double_at=[1], refresh_every=1)"

[[arms]]
name = "two"
title = "two stages"
trainer = "two_stage(max_steps=[2, 1], batch_size=8, n=1)"
""")
    results = run(recipe, runs=tmp_path / "runs")
    assert [arm["name"] for arm in results["arms"]] == ["ngame", "two"]
    folder = tmp_path / "runs" / "ways" / "seed-0"
    assert [steps(folder.parent)[f"train {name}"]["gives"]["steps"] for name in ("ngame", "two")] == [8, 3]
    record = json.loads((folder / "models" / "ngame" / "litotes_training.json").read_text())
    assert record["settings"]["batcher"].startswith("ngame(double_at=[1]")
    assert [entry["mined_at"] for entry in record["trained"]["refreshes"]] == [3, 6]
    recipe.write_text("minutes = 1\n" + recipe.read_text())
    with pytest.raises(ValueError, match=r"minutes cannot be kept by a trainer \(two\); leave them out"):
        load_recipe(recipe)
    recipe.write_text(recipe.read_text().replace("minutes = 1\n", "") + 'objective = "infonce()"\n')
    with pytest.raises(ValueError, match="a trainer has settings of its own: objective would not be used"):
        load_recipe(recipe)
    recipe.write_text(recipe.read_text().replace("two_stage(max_steps=[2, 1], batch_size=8, n=1)", "coupled_ranker()"))
    with pytest.raises(ValueError, match=r"coupled_ranker\(\) trains a ranker, which a recipe cannot evaluate"):
        load_recipe(recipe)
