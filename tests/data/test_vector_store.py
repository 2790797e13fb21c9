"""A stored vector is a fact: found again, never rewritten, and refused when it is damaged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.atomic import MARK, read_json, write_json
from litotes.data.vector_store import VectorStore, digest, digests
from litotes.errors import BadInput

SETTINGS = {"model": "m", "prompt": ""}


def filled(folder, *shards):
    store = VectorStore(folder, SETTINGS)
    for texts in shards:
        with store.locked():
            store.append([digest(t) for t in texts], vectors_of(texts), [[len(texts), 3]])
    return store


def vectors_of(texts):
    return np.array([[len(text), sum(map(ord, text)), 0.5] for text in texts], np.float32).reshape(-1, 3)


def read(store, texts):
    rows = store.rows([digest(text) for text in texts])
    assert (rows >= 0).all()
    out = np.empty((len(texts), 3), np.float32)
    for places, vectors in store.shards_of(rows):
        out[places] = vectors
    return out


@given(st.lists(st.text(min_size=1, max_size=3), unique=True, min_size=1, max_size=12), st.data())
def test_every_text_finds_its_vector_again_in_any_order_and_from_a_new_handle(tmp_path_factory, texts, data):
    cut = data.draw(st.integers(0, len(texts)))
    folder = tmp_path_factory.mktemp("store")
    store = filled(folder, *(part for part in (texts[:cut], texts[cut:]) if part))
    asked = data.draw(st.lists(st.sampled_from(texts), max_size=20))
    for handle in (store, VectorStore(folder, SETTINGS)):
        assert read(handle, asked).tolist() == vectors_of(asked).tolist() and len(handle) == len(texts)
        assert handle.rows([digest("a text nobody stored")]).tolist() == [-1]


def test_a_second_handle_sees_what_the_first_one_added(tmp_path):
    one, other = filled(tmp_path, ["a"]), VectorStore(tmp_path, SETTINGS)
    with one.locked():
        one.append([digest("b")], vectors_of(["b"]), [[1, 1]])
    assert other.rows([digest("b")]).tolist() == [-1]
    with other.locked():
        assert read(other, ["b", "a"]).tolist() == vectors_of(["b", "a"]).tolist()


@pytest.mark.parametrize("file", ["vectors-00001.npy", "texts-00000.npy"])
def test_a_damaged_file_is_refused_by_name(tmp_path, file):
    filled(tmp_path, ["a", "b"], ["c"])
    content = bytearray((tmp_path / file).read_bytes())
    content[-1] ^= 1
    (tmp_path / file).write_bytes(content)
    with pytest.raises(BadInput, match=f"{file}: found SHA-256 .* the file is damaged"):
        read(VectorStore(tmp_path, SETTINGS), ["a", "c"])


def test_a_missing_file_is_refused_by_name_and_other_shards_still_serve(tmp_path):
    filled(tmp_path, ["a", "b"], ["c"])
    (tmp_path / "vectors-00001.npy").unlink()
    store = VectorStore(tmp_path, SETTINGS)
    assert read(store, ["b"]).tolist() == vectors_of(["b"]).tolist()
    with pytest.raises(BadInput, match="vectors-00001.npy: found no such file"):
        read(store, ["c"])


def test_other_settings_and_other_versions_are_refused(tmp_path):
    filled(tmp_path, ["a"])
    with pytest.raises(BadInput, match="field 'settings': found other settings"):
        VectorStore(tmp_path, SETTINGS | {"prompt": "query: "})
    write_json(tmp_path / "manifest.json", read_json(tmp_path / "manifest.json") | {"version": 2})
    with pytest.raises(BadInput, match="field 'version': found version 2, expected version 1"):
        VectorStore(tmp_path, SETTINGS)


def test_what_a_killed_run_left_is_no_shard_and_goes_away(tmp_path):
    filled(tmp_path, ["a"])
    (tmp_path / f"vectors-00001.npy.99{MARK}").write_bytes(b"half")
    np.save(tmp_path / "vectors-00001.npy", vectors_of(["zeal"]))  # whole, but the manifest was never written
    store = filled(tmp_path, ["b"])
    assert read(store, ["a", "b"]).tolist() == vectors_of(["a", "b"]).tolist()
    assert not list(tmp_path.glob(f"*{MARK}"))
    shards = read_json(tmp_path / "manifest.json")["shards"]
    assert [shard["count"] for shard in shards] == [1, 1] and shards[1]["batches"] == [[1, 3]]


def test_names_that_begin_alike_are_told_apart(tmp_path):
    head = b"\x01" * 8
    names = [head + bytes([i]) * 24 for i in range(5)] + [bytes(8) + b"\x02" * 24]
    store = VectorStore(tmp_path, SETTINGS)
    for part in (names[:2], names[2:]):
        with store.locked():
            store.append(part, np.zeros((len(part), 3), np.float32), [])
    unknown = [head + bytes([9]) * 24, b"\xff" * 32]
    assert store.rows([*reversed(names), *unknown]).tolist() == [5, 4, 3, 2, 1, 0, -1, -1]
    assert store.rows(np.frombuffer(b"".join(names), np.uint8).reshape(-1, 32)).tolist() == [0, 1, 2, 3, 4, 5]
    assert digests(["a", "b"]).tolist() == [list(digest("a")), list(digest("b"))] and digests([]).shape == (0, 32)
