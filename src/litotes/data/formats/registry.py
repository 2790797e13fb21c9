"""All formats by name."""

from __future__ import annotations

from litotes.data.formats import (
    beir,
    evidence_files,
    flagembedding,
    hf,
    labelled_lists,
    labelled_pairs,
    n_tuples,
    nemo,
    pairs,
    parquet,
    tevatron,
    tevatron_ids,
    trec_qrels,
    trec_run,
    triplets,
)
from litotes.data.formats.interchange import Format

_MODULES = (
    beir,
    parquet,
    hf,
    pairs,
    evidence_files,
    triplets,
    n_tuples,
    labelled_pairs,
    labelled_lists,
    flagembedding,
    tevatron,
    tevatron_ids,
    nemo,
    trec_run,
    trec_qrels,
)
FORMATS: dict[str, Format] = {module.FORMAT.name: module.FORMAT for module in _MODULES}
