"""`--memory` is a promise: kept where memory ends, refused beforehand where it cannot be, and never seen in bytes.

RLIMIT_DATA bounds writable private memory, so pages of mapped files stay free, as under a cgroup. It counts what is
reserved and not only what is touched: the limit here is the budget and what imports had reserved without touching it.
"""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.data.collection import Collection, judgements_table
from litotes.memory import held_bytes, spell_bytes
from litotes.mining import mine
from litotes.mining.budget import LEAST, Budget, budget_of, depth_of, indices_bytes, standing_bytes, warm_up
from litotes.search.approximate import choose, index_bytes
from litotes.search.space import Space
from litotes.sources.mined.bm25 import Bm25
from litotes.sources.mined.dense import Mined
from litotes.sources.mixture import Mixture
from litotes.sources.random import Random

WIDE = """
import json, resource, sys
import numpy as np, pyarrow as pa
from litotes.data.collection import Collection, judgements_table
from litotes.mining import mine
from litotes.mining.budget import warm_up
from litotes.search.space import Space
from litotes.sources.mined.dense import Mined

limit, memory, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
held = lambda name: next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(name))
n, d = 2048, 1500
draw = np.random.default_rng(0)
q, t = [f"q{i:05d}" for i in range(n)], [f"d{i:05d}" for i in range(d)]
qrels = judgements_table(q, [t[i % d] for i in range(n)], [1.0] * n)
collection = Collection("wide", pa.table({"id": q, "text": q}), pa.table({"id": t, "text": t}), {"train": qrels})
space = Space(*(draw.normal(size=(m, 32)).astype(np.float32) for m in (n, d)), "dot", "drawn", "abc")
warm_up(None, 32)
if limit:
    limit += held("VmData") - held("RssAnon")
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
made = mine(collection, space=space, sources=[Mined(1200)], out=out, memory=memory if memory != "none" else None)
print(json.dumps(dict(made.memory)))
"""
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA counts mappings on Linux only")
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "2"}


def run(*arguments, script=WIDE):
    """The script in a process of its own, whose threads have small stacks: a limit counts them whole."""
    command = 'ulimit -s 1024; exec "$@"', "bash", sys.executable, "-c", script, *map(str, arguments)
    return subprocess.run(["bash", "-c", *command], capture_output=True, text=True, env={**os.environ, **ENVIRONMENT})


def parts(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.parquet")}


@LINUX
def test_a_budget_is_kept_under_a_limit_and_leaves_no_trace(tmp_path):
    budget = 600_000_000  # without one, the run holds half as much again
    bounded = run(budget, "600MB", tmp_path / "bounded")
    assert bounded.returncode == 0, bounded.stderr
    seen = json.loads(bounded.stdout)
    assert 0 < seen["imports_and_model"] < seen["peak"] < seen["budget"] == budget
    free = run(0, "none", tmp_path / "free")
    assert json.loads(free.stdout)["peak"] > 1.2 * budget
    assert parts(tmp_path / "bounded") == parts(tmp_path / "free") and len(parts(tmp_path / "free")) == 1


@LINUX
@pytest.mark.slow
def test_without_a_budget_the_same_limit_stops_the_run(tmp_path):
    stopped = run(600_000_000, "none", tmp_path / "out")
    assert stopped.returncode != 0 and ("allocate" in stopped.stderr or "malloc" in stopped.stderr)


@LINUX
@pytest.mark.slow
def test_the_command_keeps_its_budget_model_and_encoding_included(tmp_path, tiny_bert):
    model = tiny_bert(tmp_path)
    draw = np.random.default_rng(0)
    words = ["wing", "lift", "drag", "flow"]
    rows = [{"anchor": f"{' '.join(draw.choice(words, 9))} {i}", "positive": f"the {i}"} for i in range(6000)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]),) * 2);"
        "from litotes.cli import main; sys.argv[:2] = ['litotes']; main()"
    )  # here the limit is the budget itself, whatever is reserved
    arguments = ("mine", tmp_path / "pairs.jsonl", "--model", model, "--json", "--out", tmp_path / "out")
    ran = run(1_200_000_000, *arguments, "--memory", "1.2GB", script=script)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["anchors"] == 6000
    refused = run(1_200_000_000, *arguments[:-1], tmp_path / "other", "--memory", "300MB", script=script)
    assert refused.returncode == 2 and "error: --memory 300 MB cannot be kept: imports and model hold" in refused.stderr
    assert not list(tmp_path.glob("other*"))


sizes = st.integers(0, 10**10)
budgets = st.builds(
    Budget,
    total=st.integers(1, 10**10),
    held=sizes,
    collection=st.just(0),
    encoding=sizes,
    standing=sizes,
    depth=st.integers(1, 2000),
    dimensions=st.sampled_from([0, 32, 768]),
    documents=st.integers(0, 10**7),
    index=sizes | st.just(0),
)


@given(budgets, st.integers(1, 5000))
def test_the_most_that_fits_is_done_at_a_time(budget, most):
    least = min(LEAST, most)
    try:
        anchors = budget.anchors(most)
    except MemoryError as refusal:
        assert budget.need(least) > budget.total
        assert "cannot be kept: imports and model hold" in str(refusal) and "the work needs" in str(refusal)
    else:
        assert budget.need(anchors) <= budget.total and least <= anchors <= most
        assert anchors == most or budget.need(min(most, 2 * anchors + 1)) > budget.total


@given(budgets, st.integers(1, 3000), st.integers(1, 3000))
def test_more_at_a_time_needs_more(budget, one, other):
    assert (budget.need(one) <= budget.need(other)) == (one <= other) or budget.need(one) == budget.need(other)
    assert budget.need(one) > budget.held


def test_what_sources_and_texts_take():
    mixture = Mixture([Mined(5, skip=2), Bm25(6), Random(7)], [0.5, 0.3, 0.2], 4)
    assert depth_of([Mined(10, skip=3), mixture]) == 13 + 7 + 6 + 7
    approximate = Mixture([Mined(5, search="ivf"), Random(7)], [0.5, 0.5], 4)
    whole = indices_bytes([Mined(5, search="hnsw"), approximate, Mined(5), Bm25(5)], 10**6, 384)
    assert whole == index_bytes("hnsw", 10**6, 384) + index_bytes("ivf", 10**6, 384)
    assert indices_bytes([Mined(5), Bm25(5)], 10**6, 384) == 0
    of_auto = indices_bytes([Mined(5, search="auto")], 10**6, 384)
    assert of_auto == index_bytes(choose(10**6, 384), 10**6, 384)
    assert standing_bytes(10, 20) < standing_bytes(10, 20, lexical=100)


@given(budgets, st.integers(1, 3000))
def test_an_index_adds_itself_and_what_searching_it_takes(budget, anchors):
    bare = replace(budget, index=0)
    if not budget.dimensions:
        return
    more = replace(budget, index=budget.index + 10**11)  # more than encoding ever takes
    assert more.need(anchors) - bare.need(anchors) >= 10**11 + budget.index - budget.encoding
    with pytest.raises(MemoryError, match=r"needs .* at least, 1\d\d\.\d\d GB of it for approximate indices; give"):
        more.anchors(anchors)


def test_a_run_with_an_index_is_refused_where_the_same_run_without_one_is_not(tmp_path):
    documents = 120_000
    ids = [f"d{i}" for i in range(documents)]
    tables = pa.table({"id": ["q"], "text": ["what"]}), pa.table({"id": ids, "text": ids})
    collection = Collection("many", *tables, {"train": judgements_table(["q"], ["d0"], [1.0])})
    space = Space(np.ones((1, 8), np.float32), np.ones((documents, 8), np.float32), "dot", "many", "m")
    warm_up(None, 8)
    index = indices_bytes([Mined(3, search="hnsw")], documents, 8)
    budget = {"total": sys.maxsize, "held": held_bytes()}
    enough = budget_of(collection, [Mined(3)], None, 8, **budget).need(1) + index // 2
    with pytest.raises(MemoryError, match=f"{spell_bytes(index)} of it for approximate indices; give .* or more"):
        mine(collection, space=space, sources=[Mined(3, search="hnsw")], out=tmp_path / "out", memory=enough)
    assert not list(tmp_path.iterdir())
    assert mine(collection, space=space, sources=[Mined(3)], out=tmp_path / "out", memory=enough).anchors == 1


def test_a_refusal_comes_before_anything_is_written(tmp_path):
    tables = pa.table({"id": ["q"], "text": ["what"]}), pa.table({"id": ["a", "b"], "text": ["a", "b"]})
    collection = Collection("two", *tables, {"train": judgements_table(["q"], ["a"], [1.0])})
    space = Space(np.ones((1, 2), np.float32), np.ones((2, 2), np.float32), "dot", "two", "2")
    with pytest.raises(MemoryError, match="--memory 10 MB cannot be kept: imports and model hold .* give .* or more"):
        mine(collection, space=space, out=tmp_path / "out", memory="10MB")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="a size must be a number above 0"):
        mine(collection, space=space, memory="much")
    assert mine(collection, space=space, memory=8 * 10**9).memory["budget"] == 8 * 10**9
