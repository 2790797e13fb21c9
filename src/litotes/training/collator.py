"""EvidenceCollator: rows of a training set to tokens, signs and beliefs of one batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from litotes.assemble import assemble
from litotes.training.rows import TrainingRows


class EvidenceCollator:
    """`data_collator=` of the sentence-transformers trainer: a batch of two columns of texts, and what is known of
    every pair that meets in it.

    In:   B mappings with the key "row": rows of `TrainingRows` (its `dataset()` gives them).
    Out:  `anchor_*`     features of B texts, `candidate_*` features of C texts: the B drawn positives (column i is
                         that of row i), then the negatives, anchor-major. A negative whose text is there already is no
                         new column; `of` names the row that brought it first. Nothing is padded with texts.
          `label`        {"sign" int8 [B, C], "weight" float32 [B, C], "teacher" float32 [B, C] (NaN = not scored),
                         "positive" int64 [B], "of" int64 [C], "anchor_id" int64 [B], "candidate_id" int64 [C]}, of
                         `litotes.assemble`; with texts=True also {"texts": {"anchor": [...], "candidate": [...]}}.
    Cost: tokenising B + C texts; the signs take less than a millisecond.

    `epoch` decides which positives are drawn: the callback `Clock` sets it. `seen` counts batches, anchors and
    candidates so far. `before_batch` is called before a batch is made: there `Refresh` exchanges `rows`.

    Args:
        preprocess: texts, prompt -> features; `model.preprocess`. With `tasks` it is also given task=.
        rows: the training rows; every batch is looked up in their evidence.
        prompts: put before (anchors, candidates); None = nothing.
        tasks: names of the routes of (anchors, candidates), for models with a Router.
        in_batch: False: a row sees its own candidates only (then equal negatives of two rows stay two columns).
        others: known positives that were not drawn are "silent" (0) or "pull" (+1).
        texts: put the texts into `label`, for a guide with another vocabulary.
    Raises:
        ValueError: an argument is out of range.
    """

    valid_label_columns = ("label",)  # the trainer hands these to its batch samplers

    def __init__(
        self,
        preprocess: Callable[..., dict[str, Any]],
        rows: TrainingRows,
        *,
        prompts: tuple[str | None, str | None] = (None, None),
        tasks: tuple[str, str] | None = None,
        in_batch: bool = True,
        others: Literal["silent", "pull"] = "silent",
        texts: bool = False,
    ):
        if others not in ("silent", "pull"):
            raise ValueError(f"EvidenceCollator: others must be 'silent' or 'pull', got {others!r}")
        self.preprocess, self.rows = preprocess, rows
        self.prompts, self.tasks = prompts, tasks
        self.in_batch, self.others, self.texts = in_batch, others, texts
        self.epoch = 0
        self.seen: Counter[str] = Counter()
        self.before_batch: Callable[[], None] = _nothing

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Any]:
        import torch

        self.before_batch()
        rows = self.rows
        numbers = [int(row["row"]) for row in features]
        anchors = rows.anchor[numbers]
        documents, of = self._columns(numbers)
        candidate_id = rows.candidate_code[documents]
        anchor_id = rows.anchor_code[anchors]
        drawn = np.arange(len(numbers))
        known = assemble(
            anchor_id, candidate_id, rows.lookup, drawn=drawn, of=of, in_batch=self.in_batch, others=self.others
        )
        asked = [rows.query_texts[row] for row in anchors]
        offered = [rows.document_texts[row] for row in documents]
        batch: dict[str, Any] = {}
        for side, (name, texts) in enumerate((("anchor", asked), ("candidate", offered))):
            task = {} if self.tasks is None else {"task": self.tasks[side]}
            made = self.preprocess(texts, prompt=self.prompts[side], **task)
            batch |= {f"{name}_{key}": value for key, value in {**made, **task}.items()}
        label: dict[str, Any] = {
            "sign": torch.from_numpy(known.sign),
            "weight": torch.from_numpy(known.weight),
            "teacher": torch.from_numpy(known.teacher),
            "positive": torch.from_numpy(drawn),
            "of": torch.from_numpy(of),
            "anchor_id": torch.from_numpy(anchor_id),
            "candidate_id": torch.from_numpy(candidate_id),
        }
        if self.texts:
            label["texts"] = {"anchor": asked, "candidate": offered}
        self.seen.update(batches=1, anchors=len(asked), candidates=len(offered))
        return batch | {"label": label}

    def _columns(self, numbers: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Rows of documents, and the row of the batch that brought each: int64 [C] both."""
        code = self.rows.candidate_code
        documents = [self.rows.draw(number, self.epoch) for number in numbers]
        of = list(range(len(numbers)))
        there = set(code[documents].tolist())
        for place, number in enumerate(numbers):
            if not self.in_batch:
                there = {int(code[documents[place]])}
            for document in self.rows.negatives.row(number).tolist():
                if int(code[document]) not in there:
                    there.add(int(code[document]))
                    documents.append(document)
                    of.append(place)
        return np.array(documents, np.int64), np.array(of, np.int64)


def _nothing() -> None:
    pass


def prompts_of(model: Any, query_prompt: str | None = None, document_prompt: str | None = None) -> tuple[str, str]:
    """The prompts of the two sides. None = what the model brings for that side, its default prompt failing that."""
    names = {"query": ("query",), "document": ("document", "passage", "corpus")}

    def of(side: str, given: str | None) -> str:
        if given is not None:
            return given
        known = [name for name in names[side] if name in model.prompts] or [model.default_prompt_name]
        return model.prompts.get(known[0]) or ""

    return of("query", query_prompt), of("document", document_prompt)
