import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.collection import Collection
from litotes.evidence import doubt, make
from litotes.training.collator import EvidenceCollator, prompts_of
from litotes.training.rows import TrainingRows


def spoken(texts, prompt=None, task=None):
    """Features that show what was asked for."""
    return {"input_ids": texts, "prompt": prompt, **({} if task is None else {"asked": task})}


def batch_of(rows, numbers, **options):
    return EvidenceCollator(spoken, rows, **options)([{"row": number} for number in numbers])


@given(st.lists(st.integers(0, 23), min_size=1, max_size=8, unique=True), st.integers(0, 3), st.booleans())
def test_columns_are_the_drawn_positives_then_each_negative_once_and_every_pair_is_looked_up(
    world, numbers, n, in_batch
):
    collection, evidence = world
    rows = TrainingRows.of(evidence, collection, n=n)
    batch = batch_of(rows, numbers, in_batch=in_batch)
    label = {name: value.numpy() for name, value in batch["label"].items()}
    b, texts = len(numbers), batch["candidate_input_ids"]
    assert batch["anchor_input_ids"] == [rows.query_texts[rows.anchor[i]] for i in numbers]
    documents = [rows.document_texts.index(text) for text in texts]
    for place, number in enumerate(numbers):
        assert documents[place] in rows.positives.row(number)
        mine = [documents[place]] + [d for d, of in zip(documents[b:], label["of"][b:], strict=True) if of == place]
        wanted = set(rows.negatives.row(number).tolist())
        assert wanted <= (set(documents) if in_batch else set(mine))
        assert set(mine[1:]) <= wanted
    assert list(label["of"][b:]) == sorted(label["of"][b:]) and list(label["positive"]) == list(range(b))
    assert not set(documents[:b]) & set(documents[b:]) or not in_batch
    assert len(set(documents[b:])) == len(documents[b:]) or not in_batch

    said = {(row["anchor"], row["candidate"]): row for row in evidence.to_pylist()}
    asked = [collection.queries["id"][int(rows.anchor[i])].as_py() for i in numbers]
    offered = [collection.corpus["id"][d].as_py() for d in documents]
    for i, anchor in enumerate(asked):
        for j, candidate in enumerate(offered):
            row = said.get((anchor, candidate))
            sign, weight = label["sign"][i, j], label["weight"][i, j]
            if j == i:
                assert (sign, weight) == (1, 1)
            elif not in_batch and label["of"][j] != i:
                assert sign == 0
            elif row is None:
                assert weight == 1 and (sign == -1 or offered[:j].count(candidate))
            elif row["sign"] > 0:
                assert sign == 0
            else:
                assert weight == row["weight"] and (sign == -1 or offered[:j].count(candidate))


def small(texts, evidence):
    n = len(texts)
    queries = pa.table({"id": ["a", "b"], "text": ["one", "two"]})
    collection = Collection("small", queries, pa.table({"id": [f"d{i}" for i in range(n)], "text": texts}))
    return TrainingRows.of(evidence, collection, n=3)


def test_a_duplicate_text_is_one_candidate_and_a_chance_meeting_remembers_its_doubt():
    evidence = make(["a", "a", "b", "b", "b"], ["d0", "d1", "d2", "d3", "d0"], [1, -1, 1, -1, -1], source="s")
    evidence = doubt(evidence, pa.array([False, False, False, False, True]), 0.25, "zeal")
    rows = small(["Sun", "rain", "sun ", "RAIN"], evidence)
    batch = batch_of(rows, [0, 1])
    assert batch["candidate_input_ids"] == ["Sun", "sun ", "rain"]  # RAIN is there already, and so is d0
    # d0 and d2 are one text, a positive of both; rain is a negative of both
    assert batch["label"]["sign"].tolist() == [[1, 0, -1], [0, 1, -1]]

    rows = small(["sun", "rain", "moon", "hail"], evidence)
    batch = batch_of(rows, [0, 1])
    assert batch["candidate_input_ids"] == ["sun", "moon", "rain", "hail"]
    assert batch["label"]["weight"].tolist() == [[1, 1, 1, 1], [0.25, 1, 1, 1]]  # d0 is no negative column of b


def test_prompts_tasks_and_texts_reach_their_side(world):
    rows = TrainingRows.of(world[1], world[0])
    batch = batch_of(rows, [1, 2], prompts=("q: ", "d: "), tasks=("query", "document"), texts=True)
    assert (batch["anchor_prompt"], batch["candidate_prompt"]) == ("q: ", "d: ")
    assert (batch["anchor_task"], batch["candidate_asked"]) == ("query", "document")
    assert batch["label"]["texts"] == {"anchor": batch["anchor_input_ids"], "candidate": batch["candidate_input_ids"]}


def test_every_epoch_draws_its_positives(world):
    rows = TrainingRows.of(world[1], world[0])
    collator = EvidenceCollator(spoken, rows)
    drawn = []
    for collator.epoch in range(8):
        drawn.append(collator([{"row": 1}])["candidate_input_ids"][0])
    assert set(drawn) == {rows.document_texts[d] for d in rows.positives.row(1)} and len(set(drawn)) == 2
    assert collator.seen["batches"] == 8 and collator.seen["anchors"] == 8


def test_labels_have_the_types_that_losses_expect(world):
    label = batch_of(TrainingRows.of(world[1], world[0], n=2), range(4))["label"]
    kinds = {name: str(value.dtype).removeprefix("torch.") for name, value in label.items()}
    assert kinds == {
        "sign": "int8", "weight": "float32", "teacher": "float32", "positive": "int64", "of": "int64",
        "anchor_id": "int64", "candidate_id": "int64",
    }  # fmt: skip
    b, c = label["sign"].shape
    assert b == 4 and len(label["of"]) == len(label["candidate_id"]) == c and label["teacher"].isnan().all()


def test_a_model_brings_its_own_prompts_unless_others_are_given(tiny_model):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(tiny_model, prompts={"query": "q: ", "document": "d: "}, device="cpu")
    assert prompts_of(model) == ("q: ", "d: ") and prompts_of(model, "x", "") == ("x", "")


def test_bad_arguments_are_named(world):
    with pytest.raises(ValueError, match="EvidenceCollator: others must be 'silent' or 'pull', got 'push'"):
        EvidenceCollator(spoken, TrainingRows.of(world[1], world[0]), others="push")
