import json
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.atomic import MARK
from litotes.evidence import (
    SCHEMA,
    Evidence,
    add,
    describe,
    doubt,
    make,
    order,
    rescore,
    scorer_of,
    select,
    undoubt,
    with_scorer,
)

MINI = {"name": "mini", "checksum": "ab" * 32, "similarity": "cosine"}
ANCHORS = ["b", "a", "é", "\U00010000", "\uffff", "ab"]  # UTF-16 would order two of them the other way round


@st.composite
def tables(draw, least=0):
    pairs = draw(st.lists(st.tuples(st.sampled_from(ANCHORS), st.sampled_from("xyz")), unique=True, min_size=least))
    value = lambda values: [draw(values) for _ in pairs]
    return make(
        [a for a, _ in pairs],
        [c for _, c in pairs],
        value(st.sampled_from([-1, 0, 1])),
        prior=value(st.sampled_from([0.25, 0.5, 1.0])),
        score=[ANCHORS.index(a) / 4 + ord(c) for a, c in pairs],
        source=value(st.sampled_from(["bm25", "dense"])),
        rank=value(st.integers(0, 9)),
        scorer=MINI,
    )


def some(table, salt):
    """Some rows, chosen by their ids alone: whoever asks, in whatever pieces, doubts the same ones."""
    keys = zip(table["anchor"].to_pylist(), table["candidate"].to_pylist(), strict=True)
    return pa.array([(len(a) + ord(a[0]) + ord(c)) % 3 == salt for a, c in keys], pa.bool_())


VETTERS = [
    (part, lambda t, p=part, s=salt: doubt(t, some(t, s), s / 4, p)) for salt, part in enumerate(["a", "b", "c"])
]
steps = st.lists(
    st.tuples(st.just("append"), tables())
    | st.tuples(st.just("apply"), st.sampled_from(VETTERS))
    | st.tuples(st.just("undoubt"), st.sampled_from("abc"))
    | st.tuples(st.just("compact"), st.integers(1, 4))
    | st.tuples(st.just("reopen"), st.none()),
    max_size=6,
)


@pytest.mark.parametrize("name", ["folder", "file.parquet"])
@given(steps, st.integers(1, 5))
def test_whatever_is_done_the_rows_are_those_of_a_table_in_memory(tmp_path_factory, name, steps, rows):
    path = tmp_path_factory.mktemp("evidence") / name
    store, model = Evidence.create(path, scorer=MINI), with_scorer(SCHEMA.empty_table(), MINI)
    for step, value in steps:
        if step == "append":
            store.append(value)
            model = add(model, value)
        elif step in ("apply", "undoubt"):
            change = value[1] if step == "apply" else lambda table, part=value: undoubt(table, part)
            changed = change(model)
            differ = sum(old != new for old, new in zip(model.to_pylist(), changed.to_pylist(), strict=True))
            assert store.apply(change, rows=rows) == differ
            model = changed
        elif step == "compact":
            store.compact(value)
            assert len(store) == sum(part.rows for part in store.parts)
        else:
            store = Evidence.open(path)
        assert store.read().to_pylist() == model.to_pylist()

    streamed = list(store.tables(rows))
    assert [row for table in streamed for row in table.to_pylist()] == model.to_pylist()
    anchors = [set(table["anchor"].to_pylist()) for table in streamed]
    assert sum(map(len, anchors)) == len(set().union(*anchors)) and all(len(table) for table in streamed)
    assert all(scorer_of(table) == MINI for table in streamed)
    assert store.anchors.to_pylist() == sorted(set().union(*anchors), key=str.encode)
    for anchor in [*ANCHORS, "", "zz"]:
        assert store.of_anchor(anchor).to_pylist() == [row for row in model.to_pylist() if row["anchor"] == anchor]
    assert len(store) == len(model) and store.describe() == describe(model)
    assert store.select(1, "random", 3).to_pylist() == select(model, 1, "random", 3).to_pylist()
    exported = store.export(path.parent / "out.parquet")
    assert exported.read().equals(store.read()) and Evidence.open(exported.path).read().equals(store.read())
    assert sorted(p.name for p in path.parent.glob(f"**/*{MARK}")) == []
    if not store.is_file:
        assert {p.name for p in path.iterdir()} == {"manifest.json", *(part.file for part in store.parts)}


@given(tables(), st.permutations(range(18)))
def test_a_foreign_file_is_read_in_order_and_left_as_it_is(tmp_path_factory, table, places):
    path = tmp_path_factory.mktemp("foreign") / "theirs.parquet"
    shuffled = table.take(pa.array([i for i in places if i < len(table)], pa.int64()))
    # the second time with metadata that say it is sorted, as programs leave them there that copy what they do not know
    for claim in ({}, {b"litotes.order": b"anchor"}):
        pq.write_table(shuffled.replace_schema_metadata({**shuffled.schema.metadata, **claim}), path)
        before = path.read_bytes()
        store = Evidence.open(path)
        assert store.read().to_pylist() == order(table).to_pylist() and store.scorer == MINI
        assert sum(map(len, store.tables(1))) == len(store) == len(table)
        assert store.anchors.to_pylist() == sorted(set(table["anchor"].to_pylist()), key=str.encode)
        for anchor in ANCHORS:
            assert len(store.of_anchor(anchor)) == table["anchor"].to_pylist().count(anchor)
        assert path.read_bytes() == before
    change = lambda t: doubt(t, pa.array(np.full(len(t), True)), 0.0, "all")
    store.apply(change)
    assert Evidence.open(path).read().to_pylist() == change(order(table)).to_pylist() == store.read().to_pylist()


def pairs(*anchors, candidate="x", **more):
    return make(list(anchors), [candidate] * len(anchors), -1, source="s", **more)


def halve(table):
    return doubt(table, pa.array(np.full(len(table), True)), 0.5, "half")


def test_appends_to_other_anchors_lie_side_by_side_and_are_not_read(tmp_path):
    store = Evidence.of(tmp_path / "e", pairs("a", "b"))
    (tmp_path / "e" / store.parts[0].file).write_bytes(b"unreadable")
    store.append(pairs("c", "d"))
    assert [part.rows for part in store.parts] == [2, 2] and len(store) == 4


@given(tables(least=1), st.integers(0, 5))
def test_extending_by_ordered_rows_of_later_anchors_is_appending_them(tmp_path_factory, table, cut):
    folder, table = tmp_path_factory.mktemp("extend"), order(table)
    names = sorted(set(table["anchor"].to_pylist()), key=str.encode)
    pieces = [
        table.filter(pc.is_in(table["anchor"], value_set=pa.array(part, pa.string())))
        for part in (names[:cut], names[cut:])
    ]
    one, other = (Evidence.create(folder / name, scorer=MINI) for name in ("one", "other"))
    for piece in pieces:
        one.extend(piece)
        other.append(piece)
    assert one.read().equals(other.read()) and one.parts == other.parts
    asked = pa.array(names[1:4] + ["nobody"], pa.string())
    assert one.of_anchors(asked).equals(table.filter(pc.is_in(table["anchor"], value_set=asked)))
    with pytest.raises(ValueError, match="ends with .* the rows begin with"):
        one.extend(table)
    if len(table) > 1:
        with pytest.raises(ValueError, match="behind one that comes after it"):
            Evidence.create(folder / "third").extend(table.take(pa.array(range(len(table))[::-1])))
    with pytest.raises(ValueError, match="is one file; append to it"):
        Evidence.create(folder / "file.parquet").extend(table)


def test_sweeping_deletes_what_no_manifest_names(tmp_path):
    evidence = Evidence.of(tmp_path / "e", make(["a"], ["x"], -1, source="test"))
    for name in ("part-000007.parquet", f"part-000001.parquet.3{MARK}"):
        (tmp_path / "e" / name).write_bytes(b"half")
    evidence.sweep()
    assert sorted(file.name for file in (tmp_path / "e").iterdir()) == ["manifest.json", "part-000000.parquet"]


def test_applying_writes_changed_rows_only_and_what_lies_above_counts(tmp_path):
    store = Evidence.of(tmp_path / "e", pairs("a", "b", "c"))
    assert store.apply(lambda t: doubt(t, pc.equal(t["anchor"], "b"), 0.5, "p")) == 1
    assert [part.rows for part in store.parts] == [3, 1] and len(store) == 3
    assert store.apply(lambda t: doubt(t, pc.equal(t["anchor"], "b"), 0.5, "p")) == 0 and len(store.parts) == 2
    store.apply(lambda t: doubt(t, pc.equal(t["anchor"], "b"), 0.25, "p"))
    assert store.read()["weight"].to_pylist() == [1.0, 0.25, 1.0]


def test_a_change_must_give_back_the_rows_it_got(tmp_path):
    store = Evidence.of(tmp_path / "e", pairs("a", "b"))
    for change in (lambda t: t.slice(1), lambda t: t.take(pa.array([1, 0])), lambda t: pairs("a", "z")):
        with pytest.raises(ValueError, match="must give back the same rows in the same order"):
            store.apply(change)
    with pytest.raises(ValueError, match="no evidence of schema version"):
        store.apply(lambda t: t.drop_columns(["score"]))
    assert store.read().equals(pairs("a", "b")) and len(list((tmp_path / "e").iterdir())) == 2


@pytest.mark.parametrize("name", ["folder", "file.parquet"])
def test_rescoring_names_the_new_scorer_and_two_at_once_are_refused(tmp_path, name):
    store = Evidence.of(tmp_path / name, pairs("a", "b", "c", score=[1.0, 2.0, 3.0], scorer=MINI))
    other = MINI | {"checksum": "cd" * 32}
    scorers = iter([other, MINI, MINI])
    with pytest.raises(ValueError, match="named two scorers"):
        store.apply(lambda t: rescore(t, np.zeros(len(t)), next(scorers)), rows=1)
    assert store.scorer == MINI and store.read()["score"].to_pylist() == [1.0, 2.0, 3.0]
    store.apply(lambda t: rescore(t, -t["score"].to_numpy(), other), rows=1)
    for seen in (store, Evidence.open(tmp_path / name)):
        assert seen.scorer == scorer_of(seen.read()) == other and seen.read()["score"].to_pylist() == [-1, -2, -3]
    with pytest.raises(ValueError, match="cannot take scores of"):
        store.append(pairs("d", score=1.0, scorer=MINI))
    store.append(pairs("d"))
    assert store.read()["score"].to_pylist() == [-1, -2, -3, None]


@pytest.mark.parametrize("name", ["folder", "file.parquet"])
def test_what_lies_on_disk_is_in_stored_order_after_scores_change(tmp_path, name):
    table = make(["a", "a", "a"], list("xyz"), -1, score=[3.0, 2.0, 1.0], source="s", scorer=MINI)
    store = Evidence.of(tmp_path / name, table)
    store.apply(lambda t: rescore(t, -t["score"].to_numpy(), MINI))
    written = [store.path] if store.is_file else [store.path / part.file for part in store.parts]
    assert [pq.read_table(path)["candidate"].to_pylist() for path in written][-1] == ["z", "y", "x"]


def test_the_first_scores_name_the_scorer_and_a_refused_append_does_not(tmp_path):
    store = Evidence.of(tmp_path / "e", pairs("a"))
    bad = pairs("a", "a", score=1.0, scorer=MINI)
    with pytest.raises(ValueError, match="second time"):
        store.append(bad)
    assert store.scorer is None
    store.append(pairs("a", score=1.0, scorer=MINI))
    assert Evidence.open(tmp_path / "e").scorer == MINI


def test_creating_does_not_run_over_what_is_there(tmp_path):
    path = tmp_path / "e"
    path.mkdir()
    assert len(Evidence.create(path)) == 0
    Evidence.of(path, pairs("a"), overwrite=True)
    with pytest.raises(FileExistsError, match="exists; choose another place"):
        Evidence.create(path)
    with pytest.raises(ValueError, match="second time"):
        Evidence.of(path, pairs("a", "a"), overwrite=True)
    assert Evidence.open(path).read().equals(pairs("a"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="no evidence and will not be overwritten"):
        Evidence.create(tmp_path / "mine", overwrite=True)
    assert Evidence.of(path, pairs("b"), overwrite=True).read().equals(Evidence.open(path).read())
    assert Evidence.open(path).read().equals(pairs("b"))


def test_opening_says_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a Parquet file nor a folder with manifest.json"):
        Evidence.open(tmp_path)
    (tmp_path / "x.parquet").write_text("hello")
    with pytest.raises(ValueError, match="x.parquet: not a Parquet file"):
        Evidence.open(tmp_path / "x.parquet")
    pq.write_table(pa.table({"query": ["a"]}), tmp_path / "y.parquet")
    with pytest.raises(ValueError, match="y.parquet: this is no evidence .* found the columns query: string"):
        Evidence.open(tmp_path / "y.parquet")
    (tmp_path / "x.parquet").rename(tmp_path / "x.pq")
    with pytest.raises(ValueError, match="ends in .parquet"):
        Evidence.open(tmp_path / "x.pq")
    store = Evidence.of(tmp_path / "e", pairs("a"))
    manifest = store.path / "manifest.json"
    text = manifest.read_text()
    for damaged in (text[:-20], "{}", json.dumps(json.loads(text) | {"parts": [{"file": "x"}]})):
        manifest.write_text(damaged)
        with pytest.raises(ValueError, match="manifest.json: not the manifest of evidence, or damaged"):
            Evidence.open(store.path)
    manifest.write_text(json.dumps(json.loads(text) | {"schema": 2}))
    with pytest.raises(ValueError, match="manifest.json: found schema version 2, expected 1"):
        Evidence.open(store.path)


@pytest.mark.parametrize("name", ["folder", "file.parquet"])
def test_other_fingerprints_are_refused(tmp_path, name):
    Evidence.create(tmp_path / name, fingerprints={"collection": "ab" * 32}).append(pairs("a"))
    assert Evidence.open(tmp_path / name, fingerprints={"collection": "ab" * 32, "model": "1"}).fingerprints == {
        "collection": "ab" * 32
    }
    with pytest.raises(ValueError, match="its collection has the fingerprint abababababab, expected cdcd"):
        Evidence.open(tmp_path / name, fingerprints={"collection": "cd" * 32})
    exported = Evidence.open(tmp_path / name).export(tmp_path / "out.parquet")
    assert Evidence.open(exported.path).fingerprints == {"collection": "ab" * 32}


def test_a_damaged_or_missing_part_is_named_and_nothing_is_read_from_it(tmp_path):
    store = Evidence.of(tmp_path / "e", pairs("a"))
    part = store.path / store.parts[0].file
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    for read in (Evidence.read, lambda s: s.of_anchor("a"), lambda s: s.anchors, Evidence.compact, Evidence.describe):
        with pytest.raises(ValueError, match=r"part-000000.parquet: found the checksum \w{12}, expected \w{12}"):
            read(Evidence.open(store.path))
    part.unlink()
    with pytest.raises(FileNotFoundError, match=r"part-000000.parquet: this part of the evidence is missing"):
        Evidence.open(store.path).read()


def test_a_file_with_an_impossible_row_is_refused_when_it_is_read(tmp_path):
    store = Evidence.of(tmp_path / "e", pairs("a")).export(tmp_path / "e.parquet")
    table = pq.read_table(store.path)
    wrong = table.set_column(5, SCHEMA.field("weight"), pa.array([0.5], pa.float32()))
    pq.write_table(wrong.replace_schema_metadata(table.schema.metadata), store.path)
    with pytest.raises(ValueError, match="row 1: field 'weight': found 0.5, expected the lowest of prior"):
        Evidence.open(store.path).read()


def test_what_a_killed_writer_left_is_not_read_and_is_swept_away_by_the_next(tmp_path):
    store = Evidence.of(tmp_path / "e", pairs("a"))
    stray = store.path / "part-000007.parquet"
    stray.write_bytes((store.path / store.parts[0].file).read_bytes())
    (store.path / f"part-000008.parquet.123{MARK}").write_bytes(b"half")
    (store.path / "part-mine.parquet").write_text("not numbered, not ours")
    (store.path / "notes.txt").write_text("ours neither")
    again = Evidence.open(store.path)
    assert again.read().equals(pairs("a"))
    again.append(pairs("a", candidate="y"))
    left = {p.name for p in store.path.iterdir()}
    assert left == {"manifest.json", "part-mine.parquet", "notes.txt", *(part.file for part in again.parts)}


def test_a_failed_change_leaves_nothing_behind(tmp_path):
    store = Evidence.of(tmp_path / "e", pairs("a", "b", "c"))
    before = sorted(p.name for p in store.path.iterdir())
    seen = []

    def fail(table):
        seen.append(table)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return halve(table)

    with pytest.raises(KeyboardInterrupt):
        store.apply(fail, rows=1)
    assert sorted(p.name for p in store.path.iterdir()) == before and store.read().equals(pairs("a", "b", "c"))


def test_a_second_writer_stops_instead_of_losing_the_work_of_the_first(tmp_path):
    one = Evidence.of(tmp_path / "e", pairs("a"))
    other = Evidence.open(one.path)
    one.append(pairs("b"))
    for write in (lambda: other.append(pairs("c")), lambda: other.apply(halve), other.compact):
        with pytest.raises(ValueError, match="changed by another writer since it was opened: open it again"):
            write()
    assert Evidence.open(one.path).read().equals(pairs("a", "b"))
    assert {p.name for p in one.path.iterdir()} == {"manifest.json", *(part.file for part in one.parts)}


def test_compacting_makes_parts_of_whole_anchors(tmp_path):
    many = [f"{i:03d}" for i in range(40)]
    store = Evidence.of(tmp_path / "e", pairs(*many))
    store.append(pairs(*many, candidate="y"))
    store.apply(halve, rows=16)
    before = store.read()
    store.compact(rows=20)
    assert store.read().equals(before) and 3 <= len(store.parts) <= 4
    assert all(one.last < other.first for one, other in zip(store.parts, store.parts[1:], strict=False))


def test_streaming_overlaid_parts_opens_only_those_it_stands_in(tmp_path, monkeypatch):
    many = [f"{i:03d}" for i in range(64)]
    store = Evidence.of(tmp_path / "e", pairs(*many))
    store.apply(halve, rows=4)
    assert len(store.parts) > 12
    opened, read = [], Evidence._batches

    def counted(self, part, rows):
        opened.append(part.file)
        yield from read(self, part, rows)
        opened.remove(part.file)

    monkeypatch.setattr(Evidence, "_batches", counted)
    assert max(len(opened) for _ in store.tables(4)) <= 4


@pytest.mark.parametrize("rows", [0, -1])
def test_tables_of_no_rows_are_refused(tmp_path, rows):
    with pytest.raises(ValueError, match="rows must be >= 1"):
        Evidence.of(tmp_path / "e", pairs("a")).tables(rows)


BIG = """
    import sys, numpy as np, pyarrow as pa
    from litotes.evidence import Evidence, doubt, make
    path, do = sys.argv[1:]
    store = Evidence.open(path)
    def half(table):
        return doubt(table, pa.array(np.full(len(table), True)), 0.5, "half")
"""


def run(code, *arguments, **more):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], **more)


@pytest.mark.parametrize("name", ["folder", "file.parquet"])
@pytest.mark.parametrize("do", ["append", "apply", "compact"])
def test_a_full_disk_leaves_the_old_evidence(tmp_path, name, do):
    random = np.random.default_rng(0)
    ids = [f"{i:05d}" for i in range(4000)]
    table = make(ids, ids, -1, score=random.random(4000), source="s", scorer=MINI)
    store = Evidence.of(tmp_path / name, table)
    code = (
        BIG
        + """
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
    try:
        if do == "append":
            store.append(make([f"{i:05d}" for i in range(4000)], [str(i) for i in range(4000)], -1, source="t"))
        else:
            store.apply(half) if do == "apply" else store.compact()
    except OSError as error:
        sys.exit(7)
    """
    )
    if name == "folder" or do != "compact":  # compacting one file does nothing
        assert run(code, store.path, do).returncode == 7
    assert Evidence.open(store.path).read().equals(table)
    folder = store.path if name == "folder" else tmp_path
    assert len(list(folder.iterdir())) == (2 if name == "folder" else 1)


@pytest.mark.slow
@pytest.mark.parametrize(("do", "name"), [("apply", "folder"), ("apply", "file.parquet"), ("compact", "folder")])
def test_kill_9_leaves_the_old_evidence_or_the_new(tmp_path, name, do):
    import time

    count = 60_000
    ids = [f"{i // 10:06d}" for i in range(count)]
    table = make(ids, [str(i) for i in range(count)], -1, source="s")
    code = (
        BIG
        + """
    print("ready", flush=True)
    store.apply(half, rows=2000) if do == "apply" else store.compact(rows=5000)
    print("done", flush=True)
    """
    )
    outcomes = set()
    for nth in range(8):
        path = tmp_path / str(nth) / name
        store = Evidence.of(path, table)
        if do == "compact":
            store.apply(halve, rows=5000)
        old = store.read()
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(path), do], stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
        time.sleep(0.06 * nth)
        process.kill()
        process.wait()
        again = Evidence.open(path)
        seen = again.read()
        new = old if do == "compact" else halve(old)
        assert seen.equals(old) or seen.equals(new)
        outcomes.add(process.stdout.read())
        again.apply(halve)
        again.apply(lambda t: undoubt(t, "half"))
        assert again.read().equals(table)
        there = {p.name for p in path.parent.glob("**/*") if p.is_file()}
        assert there == ({name} if again.is_file else {"manifest.json", *(part.file for part in again.parts)})
    assert "" in outcomes


@pytest.mark.slow
def test_streaming_two_million_rows_takes_a_fraction_of_loading_them(tmp_path):
    store = Evidence.create(tmp_path / "e", scorer=MINI)
    for block in range(8):
        ids = [f"q{block}-{i // 50:06d}" for i in range(250_000)]
        candidates = [f"document-{i * 7919 % 1_000_003:07d}" for i in range(250_000)]
        score = np.random.default_rng(block).random(250_000)
        store.append(make(ids, candidates, -1, score=score, source="dense", rank=0, seen=score, scorer=MINI))
    store.apply(halve)  # one part over each table of the base
    code = """
    import sys
    from litotes.evidence import Evidence
    import pyarrow
    path, how = sys.argv[1:]
    store = Evidence.open(path)
    if how == "stream":
        assert sum(len(table) for table in store.tables()) == 2_000_000
        assert store.describe().anchors == 40_000
    else:
        assert len(store.read()) == 2_000_000
    print(pyarrow.default_memory_pool().max_memory())  # what tables took, without what the allocator keeps in reserve
    """
    stream, load = (
        int(run(code, store.path, how, capture_output=True, check=True).stdout) for how in ("stream", "load")
    )
    assert stream < load / 3, f"streaming took {stream >> 20} MiB, loading {load >> 20} MiB"
