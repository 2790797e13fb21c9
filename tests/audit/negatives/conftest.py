"""Sets of a few rows in every form, and an encoder that knows where each word stands."""

from __future__ import annotations

import json

import numpy as np
import pytest

WORDS = 240


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def jsonl(tmp_path):
    """Writes rows as JSON lines and gives the file."""
    return lambda rows, name="set.jsonl": lines(tmp_path / name, rows)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory, tiny_static):
    """Words w0, w1, ... evenly around a circle: wi and wj are the more alike the nearer i is to j."""
    from litotes.data.encoder import Encoder

    angle = np.arange(WORDS) * 2 * np.pi / WORDS
    return Encoder(
        tiny_static(tmp_path_factory.mktemp("circle") / "model", np.stack([np.cos(angle), np.sin(angle)], 1))
    )


@pytest.fixture
def audited(tmp_path):
    """The audit of a set without a model, or with what is given."""
    from litotes.audit.negatives import Settings, audit_negatives

    def audit(path, **given):
        settings = {name: given.pop(name) for name in list(given) if name in Settings.__dataclass_fields__}
        return audit_negatives(path, settings=Settings(**settings), **given)

    return audit


def places(found, kind):
    """(record, field) of a kind as a set."""
    return set(found.places[kind].pairs())


@pytest.fixture(name="places")
def places_fixture():
    return places
