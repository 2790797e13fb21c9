"""What `litotes audit` finds of defects that were planted: every kind, on WordNet and on Cranfield, three seeds.

Writes benchmarks/results/audit_planted.json and the tables of docs/guide/audit.md. Nothing there is typed by hand.

python benchmarks/audit_planted.py                  plant, audit, write
python benchmarks/audit_planted.py --page           write the page from the figures that are there
"""

from __future__ import annotations

import json
import random
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "audit_planted.json"
PAGE = ROOT / "docs" / "guide" / "audit.md"
CRANFIELD = ROOT.parent / "shared" / "data" / "cranfield"
MODEL = "all-MiniLM-L6-v2"
SEEDS = (0, 1, 2)
NEGATIVES = 8
RANKS = (20, 60)  # base negatives are drawn from these ranks of the encoder
SHARE = 0.03  # of all slots, for each kind
ESTIMATED = (
    *(("suspect", share, "any") for share in (0.0, 0.05, 0.1)),
    ("suspect", 0.1, "last"),
    *(("filler", share, "any") for share in (0.0, 0.1, 0.3)),
)
BROKEN = "false negatives that score lower than labelled ones"
COPIES = ("query", "near-query", "positive", "near-positive", "positive-elsewhere")


@dataclass
class World:
    """Queries with several positives each, ranked documents, and queries of a test set."""

    name: str
    queries: list[str]
    positives: list[list[str]]
    ranked: list[list[str]]
    documents: list[str]
    test: list[tuple[str, str]]


@dataclass
class Planted:
    """Rows with defects, the test set, and where the defects are: kind -> {(row, field)}."""

    rows: list[dict[str, Any]]
    test: list[dict[str, Any]]
    truth: dict[str, set[tuple[int, str]]] = field(default_factory=lambda: defaultdict(set))


def plant(
    world: World, seed: int, share: float = SHARE, only: dict[str, float] | None = None, hide: str = "any"
) -> Planted:
    """Rows of the world with defects of every kind, each in `share` of all slots (or rows), no slot with two.

    Args:
        only: kind -> share, and no other kind.
        hide: which positive is kept back, to be hidden among negatives: "any", or the "last" that the world gives.
    """
    draw = random.Random(seed)
    rows: list[dict[str, Any]] = []
    spare: list[str | None] = []
    for query, positives, ranked in zip(world.queries, world.positives, world.ranked, strict=True):
        mixed = draw.sample(positives, len(positives)) if hide == "any" else positives
        held = mixed[:-1] if len(mixed) > 1 else mixed
        spare.append(mixed[-1] if len(mixed) > 1 else None)
        negatives = draw.sample(ranked[RANKS[0] : RANKS[1]], NEGATIVES)
        rows.append({"query": query, "pos": list(held), "neg": negatives})
    made = Planted(rows, [{"query": q, "pos": [p], "neg": []} for q, p in world.test])
    free = [(row, slot) for row in range(len(rows)) for slot in range(NEGATIVES)]
    draw.shuffle(free)
    amount = {kind: share for kind in (*COPIES, "repeated", "suspect", "filler")} if only is None else only
    for kind, part in amount.items():
        if kind not in ("everywhere", "short", "test-query"):
            _plant(made, kind, round(part * len(free)), free, spare, world, draw)
    if only is None:
        _everywhere(made, free, world, draw)
        _short(made, draw)
        _leak(made, draw)
    return made


def _plant(made: Planted, kind: str, count: int, free: list, spare: list, world: World, draw: random.Random) -> None:
    """One kind into free slots, but for filler at most once in a row; what a repetition repeats is taken too."""
    waiting, had, placed = [], set(), 0
    hides = kind in ("positive-elsewhere", "suspect")
    while free and placed < count:
        row, slot = free.pop()
        source = next(((r, s) for r, s in free if r == row and s < slot), None) if kind == "repeated" else None
        text = None
        if (
            (row not in had or kind == "filler")
            and (spare[row] is not None or not hides)
            and (source or kind != "repeated")
        ):
            text = _defect(made.rows[row], kind, spare[row], source, world, draw)
        if text is None:
            waiting.append((row, slot))
            continue
        had.add(row)
        placed += 1
        if source is not None:
            free.remove(source)
        if hides:
            spare[row] = None
        if kind == "positive-elsewhere":  # the query again, with its other positive
            pool = [one for one in world.ranked[row][RANKS[0] : RANKS[1]] if one not in made.rows[row]["neg"]]
            again = {"query": made.rows[row]["query"].upper(), "pos": [text], "neg": draw.sample(pool, NEGATIVES)}
            made.rows.append(again)
        made.rows[row]["neg"][slot] = text
        made.truth[kind].add((row, f"neg[{slot}]"))
    free[:0] = waiting


def _defect(
    row: dict[str, Any], kind: str, spare: str | None, source: tuple[int, int] | None, world: World, draw: random.Random
) -> str | None:
    if kind == "query":
        return f"  {row['query'].upper()} "
    if kind == "near-query":
        return edited(row["query"], draw)
    if kind == "positive":
        return draw.choice(row["pos"]).swapcase()
    if kind == "near-positive":
        return edited(draw.choice(row["pos"]), draw)
    if kind == "repeated":
        assert source is not None
        return row["neg"][source[1]].upper() + " "
    if kind in ("suspect", "positive-elsewhere"):
        return spare
    return draw.choice([text for text in draw.sample(world.documents, 20) if text not in row["pos"]])


def edited(text: str, draw: random.Random) -> str | None:
    """One small change in every 300 letters: a word more, a word less, two letters swapped. None for short texts."""
    if len(text) < 60:
        return None
    words = text.split()
    for _ in range(1 + len(text) // 300):
        at = draw.randrange(len(words))
        how = draw.choice(("more", "less", "swap"))
        if how == "more":
            words.insert(at, draw.choice(("also", "indeed", "then")))
        elif how == "less" and len(words[at]) <= 6:
            del words[at]
        else:
            word = words[at]
            words[at] = word[1:2] + word[:1] + word[2:] if len(word) > 1 and word[0] != word[1] else word + "s"
    return " ".join(words)


def _everywhere(made: Planted, free: list, world: World, draw: random.Random) -> None:
    text = draw.choice(world.documents)
    taken: set[int] = set()
    for row, slot in list(free):
        if len(taken) < len(world.queries) // 5 and row not in taken and text not in made.rows[row]["pos"]:
            made.rows[row]["neg"][slot] = text
            made.truth["everywhere"].add((row, f"neg[{slot}]"))
            free.remove((row, slot))
            taken.add(row)
    for row, one in enumerate(made.rows):  # where it stood before, it is one of its uses
        made.truth["everywhere"] |= {(row, f"neg[{slot}]") for slot, other in enumerate(one["neg"]) if other == text}


def _short(made: Planted, draw: random.Random) -> None:
    busy = {row for kind in made.truth.values() for row, _ in kind}
    still = [row for row in range(len(made.rows)) if row not in busy]
    for row in draw.sample(still, max(1, len(still) // 5)):
        del made.rows[row]["neg"][draw.randrange(1, NEGATIVES - 1) :]
        made.truth["short"].add((row, ""))
    # a row that holds a negative twice has fewer different ones as well
    made.truth["short"] |= {(row, "") for row, _ in made.truth["repeated"]}


def _leak(made: Planted, draw: random.Random) -> None:
    for row in draw.sample(range(len(made.rows)), max(2, len(made.rows) // 20)):
        query = made.rows[row]["query"]
        leaked = query.title() if draw.random() < 0.5 else edited(query, draw) or query.title()
        made.test.append({"query": leaked, "pos": made.rows[row]["pos"][:1], "neg": []})
        same = query.casefold()
        made.truth["test-query"] |= {(i, "") for i, one in enumerate(made.rows) if one["query"].casefold() == same}


def wordnet(encoder: Any, documents: int = 4000, queries: int = 1000, mixed: bool = False) -> World:
    """Definitions of synsets that have usage examples; one positive has words and examples, the other the words.

    Args:
        mixed: also definitions whose synset has no examples, and so one positive.
    """
    from litotes.data.wordnet import load_wordnet

    whole = load_wordnet(documents, train=queries, test=100)
    lemmas = load_wordnet(documents, "lemmas", train=1, test=1)
    bare = dict(zip(lemmas.corpus["id"].to_pylist(), lemmas.document_texts(), strict=True))
    texts = dict(zip(whole.corpus["id"].to_pylist(), whole.document_texts(), strict=True))

    def other(document: str) -> list[str]:
        return [texts[document]] + ([bare[document]] if bare.get(document, texts[document]) != texts[document] else [])

    return _world("WordNet", whole, "train", "test", other, encoder, 1 if mixed else 2)


def cranfield(encoder: Any) -> World:
    """The first 175 queries with all their judged documents; the others are the test set."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from litotes.data.readers import read_collection

    whole = read_collection(CRANFIELD, skip_bad=True).collection
    table = whole.qrels["test"]
    first = set(whole.queries["id"].to_pylist()[:175])
    kept = pc.is_in(table["query"], value_set=pa.array(sorted(first)))
    whole = whole.with_qrels({"train": table.filter(kept), "test": table.filter(pc.invert(kept))})
    texts = dict(zip(whole.corpus["id"].to_pylist(), whole.document_texts(), strict=True))
    return _world("Cranfield", whole, "train", "test", lambda document: [texts[document]], encoder)


def _world(name: str, whole: Any, train: str, test: str, other: Any, encoder: Any, least: int = 2) -> World:
    from litotes.data.anchors import Anchors
    from litotes.search.exact import top_k
    from litotes.search.mask import Mask

    anchors = Anchors.of(whole, train)
    texts, ids = whole.document_texts(), whole.corpus["id"].to_pylist()
    asked = [whole.query_texts()[row] for row in anchors.query]
    vectors = encoder.encode(asked, "query"), encoder.encode(texts, "document")
    excluded = anchors.excluded.offsets, anchors.excluded.items
    found, _ = top_k(*vectors, RANKS[1], mask=Mask.of(len(asked), len(texts), exclude=excluded))
    positives = [[text for d in anchors.positives.row(i) for text in other(ids[d])] for i in range(len(anchors))]
    ranked = [[texts[d] for d in row if d >= 0] for row in found]
    tests = Anchors.of(whole, test)
    aside = [(whole.query_texts()[q], texts[tests.positives.row(i)[0]]) for i, q in enumerate(tests.query)]
    seen = {query.casefold() for query in asked}
    kept = [i for i, group in enumerate(positives) if len(group) >= least]
    parts = [[part[i] for i in kept] for part in (asked, positives, ranked)]
    return World(name, *parts, texts, [pair for pair in aside if pair[0].casefold() not in seen])  # type: ignore[arg-type]


def audited(planted: Planted, encoder: Any, folder: Path, repaired: bool = False, vetter: Any = None) -> Any:
    """The audit of planted rows, read from FlagEmbedding files."""
    from litotes.audit.negatives import Settings, audit_negatives

    train, test = folder / "train.jsonl", folder / "test.jsonl"
    for path, rows in ((train, planted.rows), (test, planted.test)):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return audit_negatives(
        train,
        encoder=encoder,
        vetter=vetter,
        settings=Settings(wanted=NEGATIVES),
        test=test,
        test_format="flagembedding",
        repaired=folder / "repaired.jsonl" if repaired else None,
    )


def judged(planted: Planted, found: Any) -> dict[str, Counter[str]]:
    """Kind -> planted, found, hit: planted and found as this kind; other: found where only another kind was planted.

    A copy of the query is rightly suspect, and a copy of a positive that the encoder does not know looks like filler:
    `other` places say nothing of precision.
    """
    out = {}
    for kind, places in found.places.items():
        if kind == "test-text":
            continue
        here, truth = set(places.pairs()), planted.truth[kind]
        others = set().union(*(planted.truth[name] for name in planted.truth if name != kind)) - truth
        out[kind] = Counter(planted=len(truth), found=len(here), hit=len(here & truth), other=len(here & others))
    return out


def measure() -> dict[str, Any]:
    """All figures."""
    from _harness import machine

    from litotes.audit.negatives import KINDS
    from litotes.audit.vetting_truth import Share
    from litotes.data.encoder import Encoder

    rows, estimates = [], []
    with tempfile.TemporaryDirectory() as cache:
        encoder = Encoder(MODEL, cache=Path(cache) / "vectors")
        for world in (wordnet(encoder), cranfield(encoder)):
            totals: dict[str, Counter[str]] = defaultdict(Counter)
            for seed in SEEDS:
                planted = plant(world, seed)
                with tempfile.TemporaryDirectory() as folder:
                    for kind, counts in judged(planted, audited(planted, encoder, Path(folder))).items():
                        totals[kind] += counts
            for kind in KINDS:
                if kind in totals:
                    one = totals[kind]
                    recall = Share(one["hit"], one["planted"])
                    precision = Share(one["hit"], one["found"] - one["other"])
                    rows.append([world.name, kind, one["planted"], one["found"], _said(recall), _said(precision)])
            broken = "hidden ones shorter than labelled ones" if world.name == "WordNet" else None
            for kind, share, hide in ESTIMATED:
                if hide == "any" or broken:
                    planted = plant(world, 0, only={kind: share}, hide=hide)
                    true = len(planted.truth[kind]) / sum(len(row["neg"]) for row in planted.rows)
                    with tempfile.TemporaryDirectory() as folder:
                        made = audited(planted, encoder, Path(folder))
                    estimate = made.hidden if kind == "suspect" else made.filler
                    what = "false negatives" if kind == "suspect" else "random filler"
                    what += f", {broken}" if hide != "any" else ""
                    ends = f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f} %"
                    estimates.append([world.name, what, f"{100 * true:.1f} %", f"{100 * estimate.value:.1f} %", ends])
        # what breaks it: only words hide, and most labelled positives are of another make
        planted = plant(wordnet(encoder, queries=400, mixed=True), 0, only={"suspect": 0.1}, hide="last")
        true = len(planted.truth["suspect"]) / sum(len(row["neg"]) for row in planted.rows)
        with tempfile.TemporaryDirectory() as folder:
            estimate = audited(planted, encoder, Path(folder)).hidden
        ends = f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f} %"
        estimates.append(["WordNet", BROKEN, f"{100 * true:.1f} %", f"{100 * estimate.value:.1f} %", ends])
    return {
        "name": "audit_planted",
        "page": "guide/audit.md",
        "title": "What an audit finds of planted defects",
        "task": f"FlagEmbedding rows of {NEGATIVES} negatives from ranks {RANKS[0]} to {RANKS[1]} of {MODEL}, each "
        f"kind planted in {100 * SHARE:.0f} % of the slots; seeds {', '.join(map(str, SEEDS))} together.",
        "command": "python benchmarks/audit_planted.py",
        "machine": machine(1),
        "table": {
            "columns": ["collection", "kind", "planted", "found", "recall", "precision"],
            "rows": rows,
        },
        "estimates": {
            "columns": ["collection", "share of", "planted", "estimate (at most)", "95 % interval"],
            "rows": estimates,
        },
    }


def _said(share: Any) -> str:
    if not share.total:
        return "none"
    low, high = share.interval
    return f"{share.value:.3f} [{low:.3f}, {high:.3f}]"


def markdown(table: dict[str, Any]) -> str:
    """A table of the figures as the page shows it."""
    lines: list[Sequence[Any]] = [table["columns"], ["---"] * len(table["columns"]), *table["rows"]]
    return "\n".join(
        "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in line) + " |" for line in lines
    )


def written(page: str, figures: dict[str, Any]) -> str:
    """The page with the figures between its marks."""
    for mark, table in (("planted", figures["table"]), ("estimates", figures["estimates"])):
        text = f"<!-- {mark} -->\n\n{markdown(table)}\n\n<!-- end of {mark} -->"
        page, count = re.subn(
            rf"<!-- {mark} -->.*?<!-- end of {mark} -->", lambda _, text=text: text, page, flags=re.DOTALL
        )
        if count != 1:
            raise ValueError(f"the page has {count} places for {mark}")
    return page


def main() -> None:
    if "--page" not in sys.argv[1:]:
        figures = measure()
        RESULT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    figures = json.loads(RESULT.read_text(encoding="utf-8"))
    print(markdown(figures["table"]), markdown(figures["estimates"]), sep="\n\n")
    if PAGE.exists():
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")


if __name__ == "__main__":
    main()
