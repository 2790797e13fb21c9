"""The audit of a set of training examples: everything that is looked for, in order, and the repair."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from litotes.audit.negatives import usage
from litotes.audit.negatives.copies import copies
from litotes.audit.negatives.examples import Example, examples_of
from litotes.audit.negatives.fill import DEPTH, candidates
from litotes.audit.negatives.findings import Finding, Places
from litotes.audit.negatives.hardness import Hardness, filler_share, fillers, hardness, steps
from litotes.audit.negatives.judge import Judge, cross_scores, slot_scores, suspects
from litotes.audit.negatives.kinds import CERTAIN, COPIES, KINDS
from litotes.audit.negatives.leak import Leak, leaks
from litotes.audit.negatives.repair import asked_for, plan, wanting
from litotes.audit.negatives.rewrite import rewrite
from litotes.audit.negatives.share import Estimate, hidden_share
from litotes.audit.negatives.source import Source, read_source
from litotes.audit.negatives.vectors import space_of
from litotes.audit.results_schema import Scores
from litotes.data.collection import Collection
from litotes.errors import BadInput
from litotes.search.space import Space

_BINS = 40


@dataclass(frozen=True)
class Settings:
    """Where the lines are.

    Args:
        near: Jaccard similarity of runs of five characters from which two texts are nearly one, in (0, 1].
        everywhere: share of all queries that one text may serve as a negative, in (0, 1].
        alpha: a negative is filler if more than this share of random texts is as alike to the query, in (0, 1).
        typical: a suspect must also score as high as this share of all positives does not, in [0, 1); 0 leaves all to
            the vetter.
        wanted: negatives a row should have, >= 1; None = what most rows have.
        leave: kinds that are reported and not repaired. Suspects are, unless asked for: most are true negatives.
        seed: of random texts and of the bootstrap.
    Raises:
        ValueError: an argument is out of range.
    """

    near: float = 0.8
    everywhere: float = 0.1
    alpha: float = 0.1
    typical: float = 0.5
    wanted: int | None = None
    leave: tuple[str, ...] = ("suspect",)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("near", self.near), ("everywhere", self.everywhere)):
            if not 0 < value <= 1:
                raise ValueError(f"audit: {name} must be in (0, 1], got {value!r}")
        if not 0 < self.alpha < 1:
            raise ValueError(f"audit: alpha must be in (0, 1), got {self.alpha!r}")
        if not 0 <= self.typical < 1:
            raise ValueError(f"audit: typical must be in [0, 1), got {self.typical!r}")
        if self.wanted is not None and not self.wanted >= 1:
            raise ValueError(f"audit: wanted must be >= 1 or None, got {self.wanted!r}")
        unknown = sorted(set(self.leave) - set(KINDS))
        if unknown:
            raise ValueError(f"audit: leave must be among {', '.join(KINDS)}, got {unknown[0]!r}")
        if not self.seed >= 0:
            raise ValueError(f"audit: seed must be >= 0, got {self.seed!r}")


@dataclass(frozen=True, eq=False)
class Audit:
    """What was found.

    Args:
        path, format: the set.
        facts: name -> count.
        found: kind -> how many, for every kind that was looked for.
        negatives: how many there are; `rows` likewise.
        certain: negatives that the set itself gives as positives.
        hidden: estimate of false ones among the negatives that are no copies, None with the reason in `notes`.
        filler: estimate of random filler.
        steps: (how hard, negatives).
        scores: histogram of positives, kept and repaired (or suspected) negatives.
        judge: who scored, and the spelling of the vetter that suspects.
        leak: about the test set, where one was given.
        wanted: negatives a row should have.
        examples: some of each kind.
        places: kind -> where each one stands.
        done: (kind, what was done) -> how often; empty where nothing was repaired.
        identical: the repaired set is the old one byte for byte; None where nothing was written.
        repaired, changes: where they are.
        notes: what has to be kept in mind.
        bad: rows that were skipped, in words.
    """

    path: Path
    format: str
    facts: dict[str, int]
    found: dict[str, int]
    negatives: int
    rows: int
    certain: int
    hidden: Estimate | None
    filler: Estimate | None
    steps: list[tuple[str, int]]
    scores: Scores | None
    judge: tuple[str, str] | None
    leak: Leak | None
    wanted: int
    examples: list[Example]
    places: dict[str, Places] = field(default_factory=dict)
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    identical: bool | None = None
    repaired: Path | None = None
    changes: Path | None = None
    notes: list[str] = field(default_factory=list)
    bad: str = ""


def audit_negatives(
    path: str | Path,
    *,
    encoder: Any = None,
    cross_encoder: Any = None,
    vetter: Any = None,
    settings: Settings | None = None,
    format: str | None = None,
    collection: Collection | None = None,
    split: str = "train",
    test: str | Path | None = None,
    test_format: str | None = None,
    test_collection: Collection | None = None,
    test_split: str = "test",
    repaired: str | Path | None = None,
    changes: str | Path | None = None,
    skip_bad: bool = False,
    work: str | Path | None = None,
    **options: Any,
) -> Audit:
    """Audit the negatives of a set, and write a repaired one where asked.

    Texts lie on disk and vectors are memory-mapped; in memory are some hundred bytes per different
    text and per slot.

    Args:
        path: the set, in any format that `convert` reads.
        encoder: an `Encoder`; None: only texts are compared (no suspects, no filler, nothing is exchanged).
        cross_encoder: a sentence-transformers CrossEncoder with one output; then it judges who is suspect.
        vetter: whose doubt makes a suspect; None: `relative_margin(margin=0.05)` over the encoder's scores, or
            `absolute_margin(margin=0.0)` over the cross-encoder's.
        settings: the lines.
        format, collection, split, skip_bad, options: as in `read_source`.
        test, test_format, test_collection, test_split: the test set, read in the same way.
        repaired: where the repaired set goes, in the same form. changes: its list; None = beside it.
        work: folder for texts and vectors; None = a temporary one.
    Raises:
        BadInput: a row is bad. ValueError: an argument is out of range, or a place cannot hold the form.
        FileExistsError: a place is taken.
    """
    settings = settings or Settings()
    with tempfile.TemporaryDirectory(prefix="litotes-audit-", dir=work) as folder:
        return _Run(Path(folder), settings, encoder, cross_encoder, vetter).audit(
            Path(path),
            {"format": format, "collection": collection, "split": split, "skip_bad": skip_bad, **options},
            None
            if test is None
            else (Path(test), {"format": test_format, "collection": test_collection, "split": test_split}),
            None if repaired is None else Path(repaired),
            None if changes is None else Path(changes),
        )


class _Run:
    """One audit: the set, the space of its texts and who judges."""

    def __init__(self, folder: Path, settings: Settings, encoder: Any, cross_encoder: Any, vetter: Any):
        if cross_encoder is not None and getattr(cross_encoder, "num_labels", 1) != 1:
            raise ValueError(f"audit: the cross-encoder must have one output, got {cross_encoder.num_labels}")
        self.folder, self.settings = folder, settings
        self.encoder, self.cross_encoder, self.vetter = encoder, cross_encoder, vetter
        self.notes: list[str] = []

    def audit(
        self,
        path: Path,
        reading: dict[str, Any],
        test: tuple[Path, dict[str, Any]] | None,
        repaired: Path | None,
        changes: Path | None,
    ) -> Audit:
        known: dict[bytes, int] = {}
        source = read_source(path, self.folder / "set", known=known, **reading)
        other = None if test is None else read_source(test[0], self.folder / "test", known=known, **test[1])
        if repaired is not None:
            changes = self._places(source, repaired, changes)
        examples, settings = source.examples, self.settings
        if not len(examples):
            raise BadInput("no row", "at least one row that can be read", file=path)
        negatives = examples.negatives
        self.notes += [f"{count:,} {note}" for note, count in source.notes.items()]

        found = {one.kind: one for one in copies(examples, settings.near)}
        found["repeated"] = usage.repeated(examples)
        found["everywhere"] = usage.everywhere(examples, settings.everywhere)
        found["short"], wanted = usage.short(examples, settings.wanted)
        if not len(negatives) and settings.wanted is None:
            found.pop("short")
            self.notes.append("The set has no negatives at all.")

        space = None if self.encoder is None else space_of(examples, self.encoder, self.folder)
        made = scores = judge = judged = None
        if space is not None:
            scores = space.pairs(examples.anchor_query[examples.slot_anchor], examples.slot_document)
            made = hardness(examples, space, scores, settings.seed)
            if made is None:
                self.notes.append("Too few texts to say what a random one is like: filler was not looked for.")
            else:
                found["filler"] = fillers(examples, made, settings.alpha)
        judge = self._judge(source, space)
        if judge is not None:
            judged = scores if self.cross_encoder is None else slot_scores(examples, judge)
            assert judged is not None
            judge = self._typical(source, judge, judged, made)
            found["suspect"] = suspects(examples, judge, judged)
        leak = None
        if other is not None:
            encode = None if self.encoder is None else lambda texts: self.encoder.encode(texts, "query")
            parts, leak = leaks(
                examples, other.examples, encode, None if space is None else space.queries, settings.near
            )
            found |= {one.kind: one for one in parts}
            if not leak.nearly:
                self.notes.append("Without an encoder, only test queries that are equal were found.")

        beyond = usage.beyond_cap(examples, found["everywhere"], scores)
        reason = asked_for(found, beyond, source, settings.leave)
        hidden = self._hidden(source, found, judge, judged, made)
        filler = None if made is None else filler_share(examples, made, settings.seed)
        audit = Audit(
            path,
            source.format,
            self._facts(source),
            {name: len(found[name]) for name in KINDS if name in found},
            len(negatives),
            len(examples),
            sum(len(found[name]) for name in CERTAIN),
            hidden,
            filler,
            [] if made is None else steps(examples, made),
            self._histogram(source, judge, judged, reason),
            None if judge is None else (judge.name, str(self._vetter())),
            leak,
            wanted,
            examples_of(source, found, judged),
            {name: _places(source, one) for name, one in found.items()},
            notes=self.notes,
            bad=source.bad.summary(),
        )
        if repaired is None:
            return audit
        assert changes is not None
        return self._repair(audit, source, found, reason, space, judge, wanted, repaired, changes)

    def _repair(
        self,
        audit: Audit,
        source: Source,
        found: dict[str, Finding],
        reason: np.ndarray,
        space: Space | None,
        judge: Judge | None,
        wanted: int,
        repaired: Path,
        changes: Path,
    ) -> Audit:
        examples, leave = source.examples, self.settings.leave
        better: dict[int, list[int]] = {}
        if space is not None and judge is not None:
            used = np.zeros(len(examples.documents), bool)
            used[examples.slot_document] = True
            hubs = np.unique(examples.slot_same[found["everywhere"].places])
            answers = np.unique(examples.slot_same[found["test-text"].places]) if "test-text" in found else hubs[:0]
            anchors = wanting(reason, found, source, leave)
            better = candidates(
                examples,
                anchors,
                space,
                judge,
                depth=DEPTH if self.cross_encoder is None else DEPTH // 4,  # a cross-encoder reads each of them
                near=self.settings.near,
                refused=np.concatenate([hubs, answers]),
                allowed=used,
            )
        made = plan(reason, found, source, better, wanted, leave)
        identical = rewrite(source, made, found, repaired, changes)
        if not identical and source.format not in ("flagembedding", "tevatron", "tevatron-ids", "triplets"):
            self.notes.append(f"Rows that are not changed say the same, but {source.format} files are written anew.")
        return replace(audit, done=made.counts, identical=identical, repaired=repaired, changes=changes)

    def _vetter(self) -> Any:
        if self.vetter is not None:
            return self.vetter
        if self.cross_encoder is not None:
            from litotes.vetting.absolute_margin import AbsoluteMargin

            return AbsoluteMargin(margin=0.0)
        from litotes.vetting.relative_margin import RelativeMargin

        return RelativeMargin(margin=0.05)

    def _judge(self, source: Source, space: Space | None) -> Judge | None:
        examples = source.examples
        if self.cross_encoder is not None:
            name = _name(self.cross_encoder)
            scorer = {"name": name, "checksum": "", "similarity": ""}
            model = self.cross_encoder
            return Judge(name, lambda q, d: cross_scores(model, examples, q, d), self._vetter(), scorer)
        if space is None:
            self.notes.append("Without a model nothing is said of false negatives, hardness and filler.")
            return None
        scorer = {"name": space.name, "checksum": space.checksum, "similarity": space.similarity}
        name = Path(space.name).name if Path(space.name).exists() else space.name
        return Judge(name, space.pairs, self._vetter(), scorer)

    def _typical(self, source: Source, judge: Judge, judged: np.ndarray, made: Hardness | None) -> Judge:
        """The judge with the score of a typical positive."""
        examples = source.examples
        if self.cross_encoder is None and made is not None:
            judge = replace(judge, standing=made.standing)
        up = examples.positives
        if not self.settings.typical or not len(up):
            return judge
        standing = judge.standing(examples.slot_anchor[up], judged[up])
        return replace(judge, typical=float(np.quantile(standing, self.settings.typical)))

    def _hidden(
        self,
        source: Source,
        found: dict[str, Finding],
        judge: Judge | None,
        judged: np.ndarray | None,
        made: Hardness | None,
    ) -> Estimate | None:
        if judge is None or judged is None or not len(source.examples.negatives):
            return None
        examples = source.examples
        if self.cross_encoder is not None:
            unit = f"scores of the cross-encoder {judge.name}"
        elif made is not None:
            unit = f"scores of {judge.name}, in standard deviations above {made.drawn} texts drawn at random"
        else:
            return None
        scores = judge.standing(examples.slot_anchor, judged)
        up = examples.positives
        known = np.concatenate([found[name].places for name in COPIES])
        down = np.setdiff1d(examples.negatives[~examples.slot_judged[examples.negatives]], known)
        estimate = hidden_share(
            examples.slot_anchor[up], scores[up], examples.slot_anchor[down], scores[down], seed=self.settings.seed
        )
        if estimate is None:
            self.notes.append("Too few queries with a positive and a negative to estimate the share of false ones.")
            return None
        return replace(estimate, rests_on=unit)

    def _facts(self, source: Source) -> dict[str, int]:
        examples = source.examples
        return {
            "rows": len(examples),
            "queries": examples.anchors,
            "positives": len(examples.positives),
            "negatives": len(examples.negatives),
            "different texts": len(np.unique(examples.slot_same)),
        }

    def _histogram(
        self, source: Source, judge: Judge | None, judged: np.ndarray | None, reason: np.ndarray
    ) -> Scores | None:
        if judge is None or judged is None or not len(judged):
            return None
        examples = source.examples
        low, high = (float(value) for value in np.quantile(judged, [0.0005, 0.9995]))
        if not high > low:
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, _BINS + 1)
        kept = (examples.slot_sign < 0) & (reason < 0)
        sides = (examples.slot_sign > 0, kept, reason >= 0)
        counts = [np.histogram(np.clip(judged[side], low, high), edges)[0].tolist() for side in sides]
        return Scores(edges=edges.tolist(), positives=counts[0], kept=counts[1], rejected=counts[2], scorer=judge.name)

    def _places(self, source: Source, repaired: Path, changes: Path | None) -> Path:
        source.files.check_target(repaired)
        if repaired.exists() and not (repaired.is_dir() and not any(repaired.iterdir())):
            raise FileExistsError(f"{repaired} exists; choose another place or remove it first")
        changes = repaired.with_name(f"{repaired.name.partition('.')[0]}.changes.jsonl") if changes is None else changes
        if changes.exists():
            raise FileExistsError(f"{changes} exists; choose another place or remove it first")
        return changes


def _places(source: Source, one: Finding) -> Places:
    examples = source.examples
    if KINDS[one.kind].counts == "rows":
        return Places(examples.row_at[one.places], [""] * len(one))
    fields = [examples.fields[number] for number in examples.slot_field[one.places].tolist()]
    return Places(examples.row_at[examples.slot_row[one.places]], fields)


def _name(model: Any) -> str:
    config = getattr(getattr(model, "model", None), "config", None)
    return Path(getattr(config, "_name_or_path", "") or type(model).__name__).name
