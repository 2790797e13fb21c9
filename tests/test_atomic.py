import hashlib
import os

import pytest

from litotes.atomic import MARK, atomic_path, read_json, remove_leftovers, sha256_file, write_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_and_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    for content in ("one", "two"):
        with atomic_path(path) as temporary:
            temporary.write_text(content)
            assert temporary.parent == path.parent  # of one file system, or the rename would copy
            assert not path.exists() or path.read_text() == "one"
        assert path.read_text() == content and names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_fault_inside_leaves_the_old_file_and_nothing_else(tmp_path, fault):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(fault), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise fault
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_a_block_that_writes_nothing_is_a_fault(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_the_content_is_on_disk_before_the_name_changes(tmp_path, monkeypatch):
    order, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("fsync"), fsync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("rename"), replace(a, b))[1])
    write_json(tmp_path / "a.json", 1)
    assert order == ["fsync", "rename", "fsync"]  # the file, its name, the folder that holds the name


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in (f"a.txt.1{MARK}", f"b.2{MARK}", "a.txt", f"deep/c.3{MARK}"):
        (tmp_path / name).write_text("x")
    assert remove_leftovers(tmp_path) == 2 and names(tmp_path) == ["a.txt", "deep"] and names(tmp_path / "deep")
    assert remove_leftovers(tmp_path) == 0


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_the_checksum_is_that_of_all_bytes(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "x").write_bytes(content)
    assert sha256_file(tmp_path / "x") == hashlib.sha256(content).hexdigest()


def test_json_comes_back_and_is_readable(tmp_path):
    value = {"b": [1, 0.1, None, True], "a": "zażółć \U0001f642"}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "a.json") == value and "zażółć \U0001f642" in text and text.endswith("}\n")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), {"deep": [float("-inf")]}, object()])
def test_what_is_no_json_is_refused_and_the_old_file_stays(tmp_path, bad):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a.json", bad)
    assert read_json(tmp_path / "a.json") == 1 and names(tmp_path) == ["a.json"]
