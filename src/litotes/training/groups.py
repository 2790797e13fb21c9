"""GroupCollator: rows of a training set to groups of pairs, with what evidence says of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from litotes.assemble import assemble
from litotes.training.rows import TrainingRows


class GroupCollator:
    """`data_collator=` of the cross-encoder trainer: each row is a query with its drawn positive and its negatives.

    In:   B mappings with the key "row": rows of `TrainingRows` (its `dataset()` gives them).
    Out:  `pairs`  features of P pairs (query, document), the groups one after the other, the positive of each first
                   and its negatives best first; a text that is in the group already is no new pair, and nothing is
                   filled up with texts.
          `label`  {"row", "column" int64 [P], "sign" int8, "weight" float32, "teacher" float32 (NaN = not scored)
                   [B, K], "id" int64 [B]}, K the pairs of the largest group; sign 0 and weight 0 behind the others.
          Pairs have the sign and the belief of `litotes.assemble`, so what is known about copies counts.
    Cost: tokenising P pairs.

    `epoch` decides which positives are drawn: the callback `Clock` sets it. `seen` counts batches and pairs so far.

    Args:
        preprocess: pairs, prompt -> features; `model.preprocess`.
        rows: the training rows.
        prompt: put before each pair; None = nothing.
    """

    valid_label_columns = ("label",)

    def __init__(self, preprocess: Callable[..., dict[str, Any]], rows: TrainingRows, prompt: str | None = None):
        self.preprocess, self.rows, self.prompt = preprocess, rows, prompt
        self.epoch = 0
        self.seen: Counter[str] = Counter()

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Any]:
        import torch

        rows = self.rows
        numbers = [int(row["row"]) for row in features]
        groups = [self._group(number) for number in numbers]
        sizes = np.array([len(group) for group in groups])
        documents = np.concatenate(groups)
        of = np.repeat(np.arange(len(groups)), sizes)
        start = np.cumsum(sizes) - sizes
        column = np.arange(len(documents)) - start[of]
        anchors = rows.anchor[numbers]
        anchor_id = rows.anchor_code[anchors]
        code = rows.candidate_code[documents]
        known = assemble(anchor_id, code, rows.lookup, drawn=start, of=of, in_batch=False)
        shape = len(groups), int(sizes.max())
        label: dict[str, Any] = {}
        for name, empty in (("sign", 0), ("weight", 0), ("teacher", np.nan)):
            flat = getattr(known, name)[of, np.arange(len(of))]
            label[name] = np.full(shape, empty, flat.dtype)
            label[name][of, column] = flat
        label |= {"row": of, "column": column, "id": anchor_id}
        pairs = [
            (rows.query_texts[anchors[row]], rows.document_texts[document])
            for row, document in zip(of.tolist(), documents.tolist(), strict=True)
        ]
        made = self.preprocess(pairs, prompt=self.prompt)
        self.seen.update(batches=1, pairs=len(pairs))
        return {"pairs": dict(made), "label": {name: torch.from_numpy(value) for name, value in label.items()}}

    def _group(self, number: int) -> np.ndarray:
        """Rows of documents: the drawn positive, then negatives, each text once."""
        code = self.rows.candidate_code
        group = np.r_[self.rows.draw(number, self.epoch), self.rows.negatives.row(number)].astype(np.int64)
        _, first = np.unique(code[group], return_index=True)
        return group[np.sort(first)]
