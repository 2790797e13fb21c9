import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.recipe.steps import RunFolder, fingerprint


def writes(path, text, calls):
    """Work that writes a file and counts how often it was done."""

    def work():
        calls.append(text)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return {"text": text}

    return work


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.booleans()), max_size=12))
def test_a_step_is_done_only_for_new_inputs_or_lost_files(tmp_path, asked):
    """Slow twin: a dict of what was last done under each name; each request may lose the file before it."""
    folder, last = tmp_path / "run", {}
    shutil.rmtree(folder, ignore_errors=True)
    for name, value, lose in asked:
        file, calls = folder / f"{name}.txt", []
        if lose:
            file.unlink(missing_ok=True)
        known = last.get(name) == value and not lose
        run = RunFolder(folder)  # each time as after a restart
        assert run.step(name, {"value": value}, writes(file, str(value), calls), [file]) == {"text": str(value)}
        assert bool(calls) != known and run.reused == [name] * known and run.worked == [name] * (not known)
        assert file.read_text() == str(value)
        last[name] = value


def test_a_crash_inside_a_step_leaves_it_unfinished_and_its_files_to_go_on_with(tmp_path):
    half, calls = tmp_path / "run" / "half", []

    def breaks():
        half.mkdir()
        (half / "begun").write_text("yes")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RunFolder(tmp_path / "run").step("a", 1, breaks, [half])

    def goes_on():
        calls.append((half / "begun").exists())
        return None

    run = RunFolder(tmp_path / "run")
    assert "a" not in run.manifest["steps"]
    run.step("a", 1, goes_on, [half])
    assert calls == [True] and run.worked == ["a"]
    assert RunFolder(tmp_path / "run").step("a", 1, goes_on, [half]) is None and calls == [True]


@pytest.mark.parametrize("finished", [True, False])
def test_files_of_other_inputs_are_removed_before_the_step_is_done_again(tmp_path, finished):
    made, partial = tmp_path / "run" / "model", tmp_path / "run" / "model.partial"

    def first():
        for folder in (made, partial):
            folder.mkdir()
            (folder / "old").touch()
        if not finished:
            raise RuntimeError
        return 1

    run = RunFolder(tmp_path / "run")
    if finished:
        run.step("a", {"lr": 1}, first, [made])
    else:
        with pytest.raises(RuntimeError):
            run.step("a", {"lr": 1}, first, [made])
    seen = []

    def second():
        seen.append((made.exists(), partial.exists()))
        made.mkdir()
        return 2

    assert RunFolder(tmp_path / "run").step("a", {"lr": 2}, second, [made]) == 2
    assert seen == [(False, False)]


def test_files_that_no_manifest_knows_are_not_taken_for_ours(tmp_path):
    made = tmp_path / "run" / "made"
    made.mkdir(parents=True)
    (made / "foreign").touch()
    RunFolder(tmp_path / "run").step("a", 1, lambda: made.mkdir(), [made])
    assert not list(made.iterdir())


def test_a_changed_step_that_crashes_is_no_longer_finished_under_its_old_inputs(tmp_path):
    file, calls = tmp_path / "run" / "a.txt", []
    RunFolder(tmp_path / "run").step("a", 1, writes(file, "one", calls), [file])

    def breaks():
        file.write_text("half of two")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        RunFolder(tmp_path / "run").step("a", 2, breaks, [file])
    RunFolder(tmp_path / "run").step("a", 1, writes(file, "one", calls), [file])
    assert calls == ["one", "one"] and file.read_text() == "one"


def test_a_reused_step_gives_the_same_types_and_its_own_seconds(tmp_path):
    run = RunFolder(tmp_path)
    done = run.step("a", 1, lambda: {"pair": (1, 2.5), 3: None})
    again = RunFolder(tmp_path)
    assert done == again.step("a", 1, lambda: 1 / 0) == {"pair": [1, 2.5], "3": None} == again.gives("a")
    assert again.seconds("a") == run.seconds("a") >= 0


def test_the_seconds_of_interrupted_tries_count(tmp_path):
    import time

    def slow(fails):
        time.sleep(0.05)
        if fails:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        RunFolder(tmp_path).step("a", 1, lambda: slow(True))
    run = RunFolder(tmp_path)
    run.step("a", 1, lambda: slow(False))
    assert run.seconds("a") >= 0.1


def test_what_is_no_json_is_refused_and_the_step_stays_unfinished(tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(ValueError):
        run.step("a", 1, lambda: {"loss": float("nan")})
    assert "a" not in RunFolder(tmp_path).manifest["steps"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"steps": []}', '{"steps": {"a": {}}}', '{"parts": []}', '{"steps": {"a": 1}}']
)
def test_a_damaged_manifest_is_named(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest.json: not the manifest of a run, or damaged .*; remove it"):
        RunFolder(tmp_path)


def test_the_manifest_of_an_older_run_is_read(tmp_path):
    step = {"fingerprint": fingerprint(1), "seconds": 2.0, "gives": 5}
    (tmp_path / "manifest.json").write_text(json.dumps({"steps": {"a": step}}))
    assert RunFolder(tmp_path).step("a", 1, lambda: 1 / 0) == 5


def test_the_fingerprint_knows_values_not_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert len({fingerprint(value) for value in (1, 2, "1", [1], None, True, {"a": 1})}) == 7
