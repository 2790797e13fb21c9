"""Bad input through the command line: one line that names the place, nothing half-written, exit code 2."""

from __future__ import annotations

import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from litotes.cli.faults import told

LITOTES = str(Path(sys.executable).with_name("litotes"))


def edit(path, line, text):
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")


BROKEN = {
    "corpus.jsonl": {
        '{"_id": "d4", "text": "cut o': "corpus.jsonl:5",
        '{"_id": "d4"}': "corpus.jsonl:5: field 'text'",
        '{"_id": "d4", "text": "  "}': "corpus.jsonl:5: field 'text'",
        '{"_id": "d4", "text": 7}': "corpus.jsonl:5: field 'text'",
        '{"_id": "d1", "text": "again"}': "corpus.jsonl:5: field '_id'",
    },
    "queries.jsonl": {'["q4"]': "queries.jsonl:5", '{"text": "no id"}': "queries.jsonl:5: field '_id'"},
    "qrels/train.tsv": {
        "q3\tnowhere\t1": "train.tsv:5: field 'corpus-id'",
        "nobody\td3\t1": "train.tsv:5: field 'query-id'",
        "q3\td3\tmuch": "train.tsv:5: field 'score'",
        "q3": "train.tsv:5",
    },
}


@pytest.mark.parametrize(("file", "text"), [(file, text) for file, faults in BROKEN.items() for text in faults])
def test_a_bad_row_is_named_with_its_file_line_and_field(litotes, world, tmp_path, file, text):
    edit(world / file, 5, text)
    refused = litotes("mine", world, "--no-model", "--out", "e", code=2)
    assert refused.err.startswith("error: ") and BROKEN[file][text] in refused.err and not refused.out
    assert len(refused.err.splitlines()) == 1 and not (tmp_path / "e").exists()


def test_bad_rows_are_skipped_on_request_counted_and_listed(litotes, world):
    edit(world / "qrels/train.tsv", 5, "q3\tnowhere\t1")
    edit(world / "corpus.jsonl", 30, '{"_id": "d29", "text": ""}')
    said = litotes("mine", world, "--no-model", "--skip-bad", "--out", "e", "--json")
    assert "skipped 2 bad rows" in said.err and "train.tsv:5" in said.err and "corpus.jsonl:30" in said.err
    assert said.json()["anchors"] == 9
    assert not litotes("vet", "e", world, "--skip-bad", "--explain", "q2").err.count("another collection")


def test_broken_bytes_and_missing_files_are_one_line(litotes, world, tmp_path):
    (tmp_path / "latin.csv").write_bytes("question,answer\ncafé,thé\n".encode("latin-1"))
    whole = gzip.compress(b"question,answer\n" + b"".join(b"%d?,answer %d\n" % (i, i) for i in range(9999)))
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "not.parquet").write_bytes(b"PAR1 but not really")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "modules.json").write_text("[")
    for arguments in (
        ("mine", "latin.csv"), ("mine", "cut.csv.gz"), ("mine", "not.parquet"), ("mine", "empty.csv"), ("mine", "no"),
        ("mine", world, "--out", "not.parquet"), ("mine", world, "--model", "model"), ("vet", "not.parquet"),
        ("vet", "no"), ("train", "no", world), ("train", "not.parquet", world), ("eval", "no"), ("report", "no"),
        ("eval", world, "--model", "model"), ("convert", "no", "x.json"), ("convert", "not.parquet", "x.json"),
        ("run", "no.toml"), ("claims", "board"), ("claims", "run", "no"), ("mine", world, "--split", "dev"), ("mine",),
    ):  # fmt: skip
        out = ("--out", "e") if arguments[0] == "mine" and "--out" not in arguments else ()
        refused = litotes(*arguments, *out, code=2)
        assert refused.err.startswith("error: ") and len(refused.err.splitlines()) == 1, (arguments, refused.err)
        assert not refused.out and not (tmp_path / "x.json").exists()


def test_a_bug_of_ours_keeps_its_traceback(litotes, world, monkeypatch):
    from litotes import mining

    def broken(*_, **__):
        raise KeyError("a bug")

    monkeypatch.setattr(mining, "mine", broken)
    with pytest.raises(KeyError, match="a bug"):
        litotes("mine", world, "--no-model", "--out", "e")


def test_what_the_system_says_is_told_with_the_file():
    assert told(PermissionError(13, "Permission denied", "x/y")) == "x/y: Permission denied"
    assert told(OSError(28, "No space left on device", "x")).startswith("x: No space left on device; what was finished")
    assert told(OSError("one\n  two")) == "one two" and told(ValueError("one\ntwo")) == "one\ntwo"
    assert told(MemoryError()) == "MemoryError"


def ran(*arguments, cwd, limit=None, **environment):
    def little():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    full = {**os.environ, "OMP_NUM_THREADS": "2", "COLUMNS": "80", **environment}
    return subprocess.run(
        [LITOTES, *map(str, arguments)],
        cwd=cwd, env=full, capture_output=True, text=True, preexec_fn=None if limit is None else little,
    )  # fmt: skip


@pytest.mark.parametrize("out", ["e", "e.parquet"])
def test_a_full_disk_is_told_and_the_old_files_stay(litotes, world, tmp_path, out):
    litotes("mine", world, "--no-model", "--out", out)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    full = ran("vet", out, "--vetter", "score_window(high=0.5)", cwd=tmp_path, limit=1024)
    assert full.returncode == 2 and "File too large" in full.stderr and "Traceback" not in full.stderr
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_progress_is_on_stderr_json_on_stdout_and_quiet_is_quiet(world, tmp_path):
    line = ("mine", world, "--no-model", "--json", "--out")
    loud = ran(*line, "loud", cwd=tmp_path, LITOTES_QUIET="")
    quiet = ran(*line, "quiet", cwd=tmp_path, LITOTES_QUIET="1")
    assert "mining" in loud.stderr and quiet.stderr == ""
    assert json.loads(loud.stdout)["rows"] == json.loads(quiet.stdout)["rows"] > 0
    head = subprocess.run(f"{LITOTES} list --json | head -1", shell=True, capture_output=True, text=True)
    assert head.stdout == "[\n" and "Traceback" not in head.stderr


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_evidence(tmp_path, model):
    """Ctrl-C while texts are encoded (two shards), then the same command again."""
    corpus = tmp_path / "pairs.csv"
    words = [f"{'abcdefghij'[i % 10]} {i} wing lift drag {' '.join(str(i))}" for i in range(5_000)]
    corpus.write_text("question,answer\n" + "".join(f"{w} ask,{w} answer\n" for w in words))
    line = ("mine", "pairs.csv", "--model", model, "--depth", 5, "--dtype", "float32")
    whole = ran(*line, "--out", "whole.parquet", "--cache", "one", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    going = subprocess.Popen(
        [LITOTES, *map(str, line), "--out", "cut.parquet", "--cache", "two"],
        cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "2"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(3000):
        if list((tmp_path / "two").rglob("vectors-00000.npy")):
            break
        time.sleep(0.02)
    going.send_signal(signal.SIGINT)
    said = going.communicate(timeout=60)[1]
    assert going.returncode == 130 and "the same command goes on" in said and "Traceback" not in said
    assert not (tmp_path / "cut.parquet").exists()
    assert ran(*line, "--out", "cut.parquet", "--cache", "two", cwd=tmp_path).returncode == 0
    assert (tmp_path / "cut.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
