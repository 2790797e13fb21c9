"""A litotes chain as a loss of the sentence-transformers trainer: signs, beliefs and a guide reach the objective."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from litotes.batch import Moment, SignedBatch, from_pairs
from litotes.chain import Chain
from litotes.objectives.cached import Cached, cut_rows, rows_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Features = dict[str, Any]

REQUIRED = ("sign", "weight", "positive", "of", "anchor_id", "candidate_id")


class Loss(nn.Module):
    """`loss=` of SentenceTransformerTrainer, for any chain or objective of litotes.

    Two kinds of batches are understood.

    Columns (anchor, positive, negative_1 .. negative_n), as all losses of sentence-transformers take them: every other
    positive and negative of the batch is a negative of an anchor, and all beliefs are 1, which is said once. `labels`
    may hold teacher scores: [B, n + 1] (positive first), or margins positive - negative, [B, n], or [B] for n = 1;
    they become `pairs["teacher"]`.

    The litotes collator: two columns, `anchor` [B texts] and `candidate` [C texts, none twice], and `labels` a mapping

        sign int8 [B, C], weight float32 [B, C], positive int64 [B] (column of the drawn positive, -1 = none),
        of int64 [C] (row that brought the column), anchor_id int64 [B], candidate_id int64 [C],
        teacher float32 [B, C] (NaN = not scored; optional),
        texts {"anchor": [B str], "candidate": [C str]} (optional, spares a guide of another vocabulary the detour)

    In:   `sentence_features`, one mapping of tensors per column; `labels` as above or None.
    Out:  0-d tensor, the loss.
    Cost: one forward pass of the model per column, one of the guide; with `mini_batch_size` see `Cached`.

    Args:
        model: the model in training.
        objective: a Chain, or an objective, which is scored by cosine then. Cached(chain, m) is `mini_batch_size` m.
        guide: a second model, or its path or name, for chains with a part that needs one (Gist). It is put in eval
            mode, gets no gradient and is never the model itself. A guide with another vocabulary gets the texts, or,
            without them, the decoded tokens of the model, which an uncased or small vocabulary has changed.
        mini_batch_size: texts encoded at a time, which bounds the memory for activations; None = the whole batch.
        seed: of what parts of the chain draw (MoCHi, Proxies); draws depend on it, the step and the process.
    Raises:
        ValueError: a guide is missing, useless or the model itself; labels cannot be read; columns are missing.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        objective: nn.Module,
        guide: SentenceTransformer | str | None = None,
        mini_batch_size: int | None = None,
        seed: int = 0,
    ):
        super().__init__()
        if isinstance(objective, Cached):
            if mini_batch_size is not None:
                raise ValueError(f"Loss: {objective} and mini_batch_size={mini_batch_size} say one thing twice")
            mini_batch_size, objective = objective.chunk, objective.chain
        chain = objective if isinstance(objective, Chain) else Chain(objective)
        if "guide" in chain.needs and guide is None:
            raise ValueError(f"Loss: {chain.needs['guide']} needs a guide, got guide=None")
        if guide is not None and "guide" not in chain.needs:
            raise ValueError(f"Loss: no part of {chain} reads a guide; leave guide out")
        if guide is model:
            raise ValueError("Loss: guide is the model in training; give a copy of it")
        self.model = model
        self.objective = chain if mini_batch_size is None else Cached(chain, mini_batch_size)
        self.guide = _loaded(guide).eval() if guide is not None else None
        self.mini_batch_size = mini_batch_size
        self.now: Moment | None = None  # a callback that follows training may set it
        self.seed = seed
        self._drawn = (-1, 0)  # the step of the last call, and how many calls it has had
        self._same_tokens = self.guide is not None and _same_tokens(model, self.guide)
        self._tokenizer = model.tokenizer if self.guide is not None else None  # the model may be wrapped later
        self._told = False

    @property
    def chain(self) -> Chain:
        """The chain that a batch goes through."""
        inner = self.objective.chain if isinstance(self.objective, Cached) else self.objective
        assert isinstance(inner, Chain)
        return inner

    def train(self, mode: bool = True) -> Loss:
        super().train(mode)
        if self.guide is not None:
            self.guide.eval()
        return self

    def forward(self, sentence_features: Iterable[Features], labels: Any = None) -> Tensor:
        columns = [dict(features) for features in sentence_features]
        collated = isinstance(labels, Mapping)
        self._check(columns, labels)
        guided = self._guided(columns, labels)

        def form(features: list[Tensor]) -> SignedBatch:
            return _collated(features, labels, guided) if collated else _plain(features, labels, guided)

        generator = self._generator()
        if isinstance(self.objective, Cached):
            return self.objective(
                self._encode,
                columns,
                form,
                model=_inner(self.model),
                cut=cut_padded,
                now=self.now,
                generator=generator,
            )
        loss: Tensor = self.objective(
            form([self._encode(features) for features in columns]), now=self.now, generator=generator
        )
        return loss

    def _generator(self) -> torch.Generator:
        """Draws of this step and process. They depend on the seed and the step, so that a run that is gone on with
        draws what it would have drawn; without `now` on the number of calls."""
        last, calls = self._drawn
        step = self.now.step if self.now is not None else last + 1
        calls = calls + 1 if step == last else 0
        self._drawn = (step, calls)
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        numbers = np.random.SeedSequence([self.seed, step, calls, rank]).generate_state(1, np.uint64)
        generator = torch.Generator(next(self.model.parameters(), torch.empty(0)).device)
        return generator.manual_seed(int(numbers[0] >> np.uint64(1)))

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card says of this loss."""
        return {"objective": str(self.chain), "guide": self.guide, "mini_batch_size": self.mini_batch_size}

    @property
    def citation(self) -> str:
        """The papers of the parts, as BibTeX."""
        cited = [getattr(part, "citation", None) for part in self.objective.modules()]
        return "\n".join(dict.fromkeys(text for text in cited if text))

    def _encode(self, features: Features) -> Tensor:
        embedding: Tensor = self.model(features)["sentence_embedding"]
        return embedding

    def _check(self, columns: list[Features], labels: Any) -> None:
        if isinstance(labels, Mapping):
            missing = [name for name in REQUIRED if name not in labels]
            if missing or len(columns) != 2:
                raise ValueError(
                    "Loss: a collated batch has the columns anchor and candidate and the labels "
                    f"{', '.join(REQUIRED)}; got {len(columns)} columns, labels without {missing}"
                )
            return
        if len(columns) < 2:
            raise ValueError(f"Loss: needs the columns anchor and positive at least, got {len(columns)}")
        if not self._told:
            self._told = True
            warnings.warn(
                "plain columns say nothing of belief: all weights are 1, and other rows' candidates count as "
                "negatives even where they are known positives; the litotes collator brings both",
                stacklevel=3,
            )

    @torch.no_grad()
    def _guided(self, columns: list[Features], labels: Any) -> list[Tensor] | None:
        """Features of the guide for every column; None without a guide."""
        if self.guide is None:
            return None
        texts = labels.get("texts") if isinstance(labels, Mapping) else None
        out = []
        for index, features in enumerate(columns):
            if texts is not None:
                inputs = self._retokenised(texts[("anchor", "candidate")[index]])
            elif self._same_tokens:
                inputs = features
            else:
                assert self._tokenizer is not None
                inputs = self._retokenised(
                    self._tokenizer.batch_decode(features["input_ids"], skip_special_tokens=True)
                )
            # copies, because a model writes its outputs, and sometimes its masks, into what it is given
            step = self.mini_batch_size
            if step is None:
                pieces = [_copied(inputs)]
            else:
                pieces = [cut_padded(inputs, start, start + step) for start in range(0, rows_of(inputs), step)]
            out.append(torch.cat([self.guide(piece)["sentence_embedding"] for piece in pieces]))
        return out

    def _retokenised(self, texts: list[str]) -> Features:
        assert self.guide is not None
        inputs = self.guide.preprocess(texts)
        device = self.guide.device
        return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}


def cut_padded(features: Features, start: int, stop: int) -> Features:
    """Texts start:stop of a tokenised column, copied, without the padding on the right that all of them share."""
    piece = _copied(cut_rows(features, start, stop))
    mask = piece.get("attention_mask")
    if not isinstance(mask, Tensor) or mask.ndim != 2 or not bool(mask.any()):
        return piece
    width = mask.shape[1]
    used = int(mask.any(dim=0).nonzero().max()) + 1
    per_token = {k for k, v in piece.items() if isinstance(v, Tensor) and v.ndim >= 2 and v.shape[1] == width}
    return {name: value[:, :used] if name in per_token else value for name, value in piece.items()}


def _plain(features: list[Tensor], labels: Any, guided: list[Tensor] | None) -> SignedBatch:
    """The batch of columns (anchor, positive, negative_1 ..)."""
    anchors, positives, *others = features
    negatives = torch.stack(others, dim=1) if others else None
    batch = from_pairs(anchors, positives, negatives)
    if guided is not None:
        candidates = [guided[1]] + ([torch.stack(guided[2:], dim=1).flatten(0, 1)] if others else [])
        batch = batch.replace(
            rows={**batch.rows, "guide": guided[0]}, columns={**batch.columns, "guide": torch.cat(candidates)}
        )
    if labels is None:
        return batch
    return batch.replace(pairs={"teacher": _teacher(labels, batch, len(others))})


def _teacher(labels: Any, batch: SignedBatch, n: int) -> Tensor:
    """Teacher scores [B, C], NaN for the candidates of other rows, from scores [B, n + 1] or margins [B, n]."""
    b, c = batch.sign.shape
    given = labels[:, None] if isinstance(labels, Tensor) and labels.ndim == 1 else labels
    if n == 0 or not isinstance(given, Tensor) or tuple(given.shape) not in ((b, n), (b, n + 1)):
        got = list(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(
            f"Loss: labels must be teacher scores [{b}, {n + 1}] or margins [{b}, {n}] for {n} negatives per anchor, "
            f"or a mapping of the litotes collator; got {got}. A label column that means something else must be dropped"
        )
    given = given.detach()
    given = given if given.is_floating_point() else given.to(torch.float32)
    if given.shape[1] == n:
        given = torch.cat([torch.zeros_like(given[:, :1]), -given], dim=1)
    own = batch.columns["of"][None, :] == torch.arange(b, device=given.device)[:, None]
    # in a row of the mask the positive comes first and the negatives behind it, as in a row of the scores
    return given.new_full((b, c), torch.nan).masked_scatter(own, given)


def _collated(features: list[Tensor], labels: Mapping[str, Any], guided: list[Tensor] | None) -> SignedBatch:
    """The batch of the litotes collator."""
    anchors, candidates = features
    drawn = labels["positive"]
    is_drawn = torch.isin(torch.arange(len(candidates), device=drawn.device), drawn)
    rows = {"positive": drawn, "id": labels["anchor_id"]}
    columns = {"of": labels["of"], "id": labels["candidate_id"], "role": torch.where(is_drawn, 1, -1).to(torch.int8)}
    if guided is not None:
        rows["guide"], columns["guide"] = guided
    return SignedBatch(
        None,
        labels["sign"],
        labels["weight"],
        anchors,
        candidates,
        rows=rows,
        columns=columns,
        pairs={"teacher": labels["teacher"]} if labels.get("teacher") is not None else {},
    )


def _loaded(guide: Any) -> Any:
    if not isinstance(guide, str):
        return guide
    from sentence_transformers import SentenceTransformer

    from litotes.data.models import resolve_model

    return SentenceTransformer(resolve_model(guide))


def _same_tokens(model: Any, guide: Any) -> bool:
    """Whether the guide reads the tokens of the model as they are, none of them cut off."""
    lengths = (guide.max_seq_length, model.max_seq_length)
    short = None not in lengths and lengths[0] < lengths[1]
    return model.tokenizer.get_vocab() == guide.tokenizer.get_vocab() and not short


def _inner(model: Any) -> Any:
    """The module that synchronises gradients, out of a compiled one."""
    return getattr(model, "_orig_mod", model)


def _copied(features: Features) -> Features:
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in features.items()}
