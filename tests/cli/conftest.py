"""A small world on disk, and the command line called in it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

PARTS = ["wing", "lift", "drag", "flow", "heat", "plate", "shock", "wave"]
PARTS += ["jet", "nose", "cone", "tail", "body", "speed", "sound", "layer"]


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def litotes(monkeypatch, tmp_path):
    """Calls a command line in `tmp_path`; a bug of ours is raised, as a user would see its traceback."""
    from litotes.cli.app import app

    monkeypatch.chdir(tmp_path)

    def call(*arguments, code=0):
        ran = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if ran.exception is not None and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        assert ran.exit_code == code, f"{arguments}: {ran.exit_code}\n{ran.stdout}\n{ran.stderr}"
        return SimpleNamespace(out=ran.stdout, err=ran.stderr, json=lambda: json.loads(ran.stdout))

    return call


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def world(tmp_path):
    """Folder in BEIR form: 30 documents, 10 queries, query i answered by document i, in `train` and in `test`."""
    folder = tmp_path / "world"
    texts = [" ".join(PARTS[(i * j + i + j) % 16] for j in range(1, 6)) + f" {PARTS[i % 16]}{i}" for i in range(30)]
    lines(folder / "corpus.jsonl", [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts)])
    queries = [{"_id": f"q{i}", "text": f"{texts[i].split()[0]} {texts[i].split()[-1]}"} for i in range(10)]
    lines(folder / "queries.jsonl", queries)
    for split in ("train", "test"):
        judged = "".join(f"q{i}\td{i}\t1\n" for i in range(10))
        (folder / "qrels").mkdir(exist_ok=True)
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory, tiny_bert):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def no_model(monkeypatch):
    """Loading a model is an error from here on: what is refused must be refused before."""
    import litotes.data.encoder as encoder

    def loaded(*_):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(encoder, "load_model", loaded)
