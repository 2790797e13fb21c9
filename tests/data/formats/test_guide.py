"""The guide: every command in it runs, and its table has every format."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litotes import evidence as ev
from litotes.data.collection import Collection, judgements_table
from litotes.data.formats import FORMATS
from litotes.data.writers import write_beir, write_parquet
from litotes.evidence import Evidence

GUIDE = (Path(__file__).parents[3] / "docs" / "guide" / "formats.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(?:\$ )?litotes (convert .*)$", GUIDE, re.MULTILINE)
SCORER = {"name": "m", "checksum": "", "similarity": "cosine"}


def test_every_format_stands_in_the_table():
    assert re.findall(r"^\| `([a-z-]+)` \| ", GUIDE, re.MULTILINE) == list(FORMATS)
    assert len(COMMANDS) > len(FORMATS)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """The files that the guide's commands start from."""
    queries = pa.table({"id": ["q1", "q2"], "text": ["who?", "why?"]})
    corpus = pa.table({"id": [f"d{i}" for i in range(40)], "text": [f"text {i}" for i in range(40)]})
    qrels = {split: judgements_table(["q1", "q2"], ["d0", "d1"], [1, 1]) for split in ("train", "test")}
    collection = Collection("my", queries, corpus, qrels)
    write_beir(collection, tmp_path / "my-beir")
    write_parquet(collection, tmp_path / "my-parquet")
    anchor = ["q1"] * 36 + ["q2"] * 36
    candidate = ["d0", *(f"d{i}" for i in range(2, 37)), "d1", *(f"d{i}" for i in range(2, 37))]
    sign = ([1] + [-1] * 35) * 2
    table = ev.make(anchor, candidate, sign, score=[1 - i / 100 for i in range(36)] * 2, source="bm25", scorer=SCORER)
    Evidence.of(tmp_path / "evidence.parquet", table)
    (tmp_path / "mined.jsonl").write_text(json.dumps({"query": "who?", "pos": ["text 0"], "neg": ["text 3"]}) + "\n")
    pq.write_table(pa.table({"a": ["who?"], "b": ["text 0"], "score": [0.7]}), tmp_path / "mined-pairs.parquet")
    (tmp_path / "bm25.run").write_text("q1 Q0 d5 1 2.5 bm25\nq2 Q0 d5 1 2.5 bm25\n")
    (tmp_path / "msmarco.tsv").write_text("q1\td5\t1\nq1\td6\t2\n")
    passages = {"positive_passages": [{"docid": "d", "title": "t", "text": "x"}], "negative_passages": []}
    (tmp_path / "tevatron.jsonl").write_text(json.dumps({"query_id": "q", "query": "how?", **passages}) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_runs(sources):
    from typer.testing import CliRunner

    from litotes.cli.app import app

    for number, command in enumerate(COMMANDS):
        words = command.split()
        source = "tevatron.jsonl" if command.endswith("--from tevatron --to beir") else words[1]
        place = sources / str(number)
        place.mkdir()
        target = place / words[2]
        rest = [word.replace("=texts", f"={place}/texts").replace("=pool", f"={place}/pool") for word in words[3:]]
        done = CliRunner().invoke(app, ["convert", source, str(target), *rest])
        assert done.exit_code == 0, (command, done.output, done.exception)
        assert target.exists() and "wrote " in done.output, command
        for name in re.findall(r"=(texts|pool\.jsonl)", command):
            assert (place / name).exists(), command
