"""Ray: what workers give is what one process gives, whoever is lost on the way. One cluster serves the whole file."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from litotes.cluster import Call, Cluster
from litotes.data import encoder as local_encoding
from litotes.data import on_ray as ray_encoding
from litotes.data.collection import Collection
from litotes.data.encoder import Encoder
from litotes.data.on_ray import RayEncoder
from litotes.errors import BadInput
from litotes.mining import mine
from litotes.search.definition import SIMILARITIES
from litotes.search.mask import Mask
from litotes.search.on_ray import RaySpace
from litotes.search.space import Space
from litotes.sources.mined.dense import Mined

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.xdist_group("ray")  # with --dist loadgroup one process starts Ray, once


@pytest.fixture(scope="module")
def cluster():
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    with Cluster(workers=2, threads=1) as made:
        yield made
    assert ray.is_initialized()  # it was there before, and stays
    ray.shutdown()


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*.npy"))}


class Killing:
    """Kills a worker on the way: in the middle of `calls`, before the one of that number."""

    def __init__(self, pid, number):
        self.pid, self.number = pid, number

    def __call__(self, calls):
        for number, call in enumerate(calls):
            if number == self.number:
                os.kill(self.pid, signal.SIGKILL)
            yield call


@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_calls_come_back_in_order_bounded_and_survive_a_kill(cluster, killed):
    with cluster.crew(partial(str, "x")) as crew:
        begun = []

        def calls():
            for number in range(40):
                begun.append(number)
                yield Call("__add__", (f"{number}",), near=number)

        made, answers = [], crew.map(calls(), ahead=5)
        for value in Killing(crew.processes()[1], 0)(answers) if killed else answers:
            made.append(value)
            assert len(begun) - len(made) <= 5  # back-pressure: what is begun and not taken
        assert made == [f"x{number}" for number in range(40)] and crew.lost == int(killed) and crew.workers == 2


def test_what_a_call_raises_reaches_the_caller_and_the_crew_goes_on(cluster):
    with cluster.crew(partial(int, 7)) as crew:
        with pytest.raises(ZeroDivisionError):
            list(crew.map([Call("__add__", (1,)), Call("__floordiv__", (0,)), Call("__add__", (2,))]))
        assert list(crew.map([Call("__add__", (1,))])) == [8] and crew.lost == 0


@pytest.mark.parametrize(
    "mapped, killed", [(False, False), (True, True), pytest.param(False, True, marks=pytest.mark.slow)]
)
def test_a_search_on_two_workers_one_killed_is_the_local_one(cluster, mapped, killed, tmp_path):
    noise = np.random.default_rng(3).standard_normal((9000, 16)).astype(np.float32)
    noise[5000:5100] = noise[:100]  # ties across shards
    queries, corpus = noise[:2000], noise[1000:]
    if mapped:
        np.save(tmp_path / "whole.npy", noise)
        corpus = np.load(tmp_path / "whole.npy", mmap_mode="r")[1000:]
    rows = np.arange(1999, -1, -1)
    depths = rows % 11 + 1
    mask = Mask.of(
        2000, 8000, exclude=(np.arange(2001), rows.astype(np.int32)), groups=(rows % 7, np.arange(8000) % 50)
    )
    wanted = Space(queries, np.array(corpus)).top_k(rows, depths, mask)

    class Killed(RaySpace):
        def _calls(self, *asked):
            return Killing(self.pid, 9 if killed else -1)(super()._calls(*asked))

    with Killed(Space(queries, corpus), cluster, shards=12) as space:
        space.pid = space.crew.processes()[0]
        for made, known in zip(space.top_k(rows, depths, mask), wanted, strict=True):
            assert made.tobytes() == known.tobytes()
        assert space.crew.lost == int(killed)


class Poison:
    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.parametrize("patience", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_call_that_ends_every_worker_ends_the_run(cluster, patience):
    with cluster.crew(partial(str, "x"), patience=patience) as crew:
        with pytest.raises(ChildProcessError, match=f"call 0 of '__add__' ended {patience} workers"):
            list(crew.map([Call("__add__", (Poison(),))]))
        assert list(crew.map([Call("upper", ())])) == ["X"] and crew.lost == patience


@pytest.mark.slow
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_every_similarity_and_number_of_shards_gives_the_same(cluster, similarity):
    noise = np.random.default_rng(4).standard_normal((3000, 8)).astype(np.float32)
    whole = Space(noise[:500], noise, similarity)
    for shards in (None, 1, 7):
        with RaySpace(whole, cluster, shards) as space:
            rows = np.arange(500)
            for made, known in zip(space.top_k(rows, 20), whole.top_k(rows, 20), strict=True):
                assert made.tobytes() == known.tobytes()
            assert space.pairs(rows, rows).tobytes() == whole.pairs(rows, rows).tobytes()
            assert (space.query_norms == whole.query_norms).all() and (space.corpus_norms == whole.corpus_norms).all()


def test_a_worker_that_finds_other_vectors_under_the_path_says_so(cluster, tmp_path):
    np.save(tmp_path / "c.npy", np.ones((40, 2), np.float32))
    space = RaySpace(Space(np.ones((1, 2), np.float32), np.load(tmp_path / "c.npy", mmap_mode="r")), cluster)
    np.save(tmp_path / "other.npy", np.zeros((40, 2), np.float32))
    os.replace(tmp_path / "other.npy", tmp_path / "c.npy")
    with space, pytest.raises(BadInput, match=r"c.npy: found other vectors, expected on .*the same file"):
        space.top_k(np.array([0]), 1)
    with pytest.raises(ValueError, match="shards must be >= 1 or None, got 0"):
        RaySpace(Space(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32)), cluster, 0)


def encoded(folder, model, texts, cluster=None, kill=None):
    """Vectors and the files of the store; with a cluster, on it, one worker killed before shard number `kill`."""
    encoder = Encoder(model, cache=folder)
    if cluster is not None:
        encoder = RayEncoder(encoder, cluster)
        if kill is not None:
            crew, whole = encoder.crew, encoder.crew.map
            pid = crew.processes()[0]
            crew.map = lambda calls, **more: whole(Killing(pid, kill)(calls), **more)
    vectors = encoder.encode(texts, "document")
    if kill is not None:
        assert encoder.crew.lost == 1
    return vectors, files(folder)


def words(count, seed=0):
    draw = np.random.default_rng(seed)
    return [" ".join(f"w{number}" for number in draw.integers(0, 50, draw.integers(1, 30))) for _ in range(count)]


@pytest.mark.slow
def test_shards_encoded_on_two_workers_one_killed_are_the_local_ones(cluster, tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setattr(local_encoding, "SHARD", 32)
    monkeypatch.setattr(ray_encoding, "SHARD", 32)
    model, texts = tiny_bert(tmp_path / "m"), words(700)
    vectors, stored = encoded(tmp_path / "local", model, texts)
    again, kept = encoded(tmp_path / "ray", model, texts, cluster, kill=10)
    assert again.tobytes() == vectors.tobytes() and kept == stored and len(stored) > 40
    # begun there, gone on with here
    for where, more in (("local", cluster), ("ray", None)):
        encoded(tmp_path / where, model, texts + words(60, seed=1), more)
    assert files(tmp_path / "local") == files(tmp_path / "ray")


@pytest.mark.slow
def test_real_models_and_other_thread_counts_give_the_same_bytes(cluster, tiny_static, tmp_path, monkeypatch):
    import torch

    from litotes.data.wordnet import load_wordnet

    monkeypatch.setattr(local_encoding, "SHARD", 128)
    monkeypatch.setattr(ray_encoding, "SHARD", 128)
    static = tiny_static(tmp_path / "static", np.random.default_rng(0).standard_normal((50, 16)))
    texts = load_wordnet(2000).document_texts()[:600]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)  # the workers have one
        for name, model, of in (("static", static, words(600)), ("minilm", "all-MiniLM-L6-v2", texts)):
            local = encoded(tmp_path / f"{name}-local", model, of)
            there = encoded(tmp_path / f"{name}-ray", model, of, cluster)
            assert local[0].tobytes() == there[0].tobytes() and local[1] == there[1]
    finally:
        torch.set_num_threads(before)


def parts(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.parquet"))}


def test_mining_and_its_update_on_two_workers_write_the_bytes_of_local_runs(cluster, tmp_path):
    draw = np.random.default_rng(6)
    noise = draw.integers(-2, 3, (460, 4)).astype(np.float32)  # few values: many ties

    def state(documents):
        ids = [f"d{i}" for i in documents]
        texts = pa.table({"id": [f"q{i}" for i in range(60)], "text": ["x"] * 60}), pa.table({"id": ids, "text": ids})
        known = [i for i in range(60) if 100 + i in documents]
        pairs = {"query": [f"q{i}" for i in known], "document": [f"d{100 + i}" for i in known]}
        judged = pa.table(pairs | {"grade": pa.array([1.0] * len(known), pa.float32())})
        # the corpus is mapped, so that workers open it, and what is new does not stand together
        np.save(tmp_path / f"{len(ids)}.npy", noise[60:][documents])
        corpus = np.load(tmp_path / f"{len(ids)}.npy", mmap_mode="r")
        return Collection("c", *texts, {"train": judged}), Space(noise[:60], corpus, "dot", "drawn", "abc")

    asked = {"sources": [Mined(9)], "block": 16}
    whole = np.arange(400)
    before, after = whole[(whole % 7 > 0) | (whole % 4 > 0)], whole[whole % 50 > 0]
    for number, documents in enumerate((before, after)):
        data, space = state(documents)
        local = mine(data, space=space, out=tmp_path / "local", **asked)
        there = mine(data, space=space, out=tmp_path / "ray", **asked, cluster=cluster)
        assert there.changed == local.changed and parts(tmp_path / "ray") == parts(tmp_path / "local")
        if number:
            mine(data, space=space, out=tmp_path / "scratch", **asked)
            assert parts(tmp_path / "ray") == parts(tmp_path / "scratch") and parts(tmp_path / "ray")
            assert there.changed["anchors extended"] > 0 < there.changed["anchors searched anew"]
            assert there.changed["sources run again in full"] == []
    with pytest.raises(ValueError, match="memory bounds one process"):
        mine(data, space=space, **asked, cluster=cluster, memory="8GB")


@pytest.mark.slow
def test_the_command_on_two_workers_one_killed_writes_the_bytes_of_a_local_run(tmp_path):
    """`litotes mine --ray local --workers 2`, a worker of it killed from outside while it encodes."""
    import psutil

    command = [str(Path(sys.executable).with_name("litotes")), "mine", "wordnet:5000", "--depth", "20"]
    subprocess.run([*command, "--out", "local"], cwd=tmp_path, check=True, capture_output=True)
    ran = subprocess.Popen(
        [*command, "--out", "ray", "--ray", "local", "--workers", "2"], cwd=tmp_path, stderr=-1, text=True
    )
    started = time.monotonic()
    killed = None
    while killed is None and ran.poll() is None and time.monotonic() - started < 120:
        for process in psutil.Process(ran.pid).children(recursive=True):
            with suppress(psutil.Error):
                # an idle worker has loaded nothing; a busy one has used processor time for the model by now
                if "_Worker.call" in " ".join(process.cmdline()) and process.cpu_times().user > 6:
                    killed = process.pid
                    os.kill(killed, signal.SIGKILL)
                    break
        time.sleep(0.2)
    _, said = ran.communicate(timeout=200)
    assert ran.returncode == 0 and killed is not None and "was lost and is replaced" in said, said
    assert parts(tmp_path / "local") == parts(tmp_path / "ray") and parts(tmp_path / "local")
    assert files(tmp_path / "local.vectors") == files(tmp_path / "ray.vectors") != {}


@pytest.mark.slow
def test_a_worker_with_another_model_is_refused(cluster, tiny_static, tmp_path):
    model = tiny_static(tmp_path / "m", np.eye(3))
    encoder = RayEncoder(Encoder(model), cluster)
    (tmp_path / "m").rename(tmp_path / "before")
    tiny_static(tmp_path / "m", np.ones((3, 3)))
    with pytest.raises(ValueError, match="would compute other vectors"):
        encoder.encode(["w1"], "document")
    tiny_static(tmp_path / "bad", [[1.0, 0], [np.nan, 0], [0, 1]])
    with pytest.raises(BadInput, match="NaN or infinity in the vector of the text at position 1"):
        RayEncoder(Encoder(tmp_path / "bad"), cluster).encode(["w2", "w1"], "document")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"address": ""}, "address must be"),
        ({"address": "ray://head:10001"}, "not a client, got 'ray://head:10001'"),
        ({"workers": 0}, "workers must be a whole number >= 1 or None, got 0"),
        ({"threads": 1.5}, "threads must be a whole number >= 1 or None, got 1.5"),
    ],
)
def test_a_bad_cluster_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Cluster(**arguments)


def test_a_cluster_that_is_there_is_joined_and_stays_when_its_workers_forget_and_end(cluster):
    with pytest.raises(ValueError, match="1000 workers of 2 threads need more than the . processors"):
        Cluster("local", workers=1000, threads=2).__enter__()
    with Cluster("auto", workers=1, threads=1) as joined, joined.crew(partial(list, "ab")) as crew:
        assert list(crew.map([Call("pop", ()), Call("__len__", ())])) == ["b", 1]
        crew.close()
        assert list(crew.map([Call("__len__", ())])) == [2]  # made anew
        processes = crew.processes()
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() for pid in processes):
            break
        time.sleep(0.1)
    else:
        raise AssertionError(f"still there: {processes}")
    assert ray.is_initialized() and len(cluster.crew(partial(str, "a")).processes()) == 2
