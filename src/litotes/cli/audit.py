"""litotes audit"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from litotes.cli import given
from litotes.cli.say import remark

EXAMPLES = """
[bold]Examples[/bold]

  litotes audit train.jsonl

  litotes audit train.jsonl --test DATA/test --repaired repaired.jsonl

  litotes audit triplets.parquet --cross-encoder cross-encoder/ms-marco-MiniLM-L6-v2

  litotes audit evidence --collection DATA/scifact --no-model --json

  litotes audit train.jsonl --suspects --leave filler --repaired repaired.jsonl
"""

_READER = ("threshold", "read_split", "scorer", "shape", "pool")


def add(app: typer.Typer) -> None:
    app.command("audit", epilog=EXAMPLES)(audit)


def audit(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(help="The set: a file or a folder.")],
    from_: Annotated[str | None, typer.Option("--from", help="Its format; default: found out.")] = None,
    collection: Annotated[str | None, typer.Option(help="The texts, where the set has ids only.")] = None,
    split: Annotated[str, typer.Option(help="Whose judgements, if the set is a collection.")] = "train",
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of the format's reader.")
    ] = None,
    model: given.Model = given.MINILM,
    no_model: Annotated[bool, typer.Option("--no-model", help="Compare texts only.")] = False,
    cross_encoder: Annotated[
        str | None, typer.Option(help="A cross-encoder that judges instead: a folder or hub name.")
    ] = None,
    vetter: Annotated[
        str | None, typer.Option(help="Whose doubt makes a suspect. Default: relative_margin(margin=0.05).")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="The test set, to look for its texts.")] = None,
    test_from: Annotated[str | None, typer.Option(help="Its format; default: found out.")] = None,
    test_split: Annotated[str, typer.Option(help="Its split, if it is a collection.")] = "test",
    near: Annotated[float, typer.Option(help="Share of common text from which two texts are nearly one.")] = 0.8,
    everywhere: Annotated[float, typer.Option(help="Share of queries that one negative may serve.")] = 0.1,
    alpha: Annotated[
        float, typer.Option(help="Filler: more than this share of random texts is as alike to the query.")
    ] = 0.1,
    typical: Annotated[
        float, typer.Option(help="A suspect scores above this share of all positives, too; 0: no matter.")
    ] = 0.5,
    n: Annotated[int | None, typer.Option(min=1, help="Negatives a row should have; default: what most have.")] = None,
    out: Annotated[Path, typer.Option(help="Where the page goes.")] = Path("audit.html"),
    repaired: Annotated[Path | None, typer.Option(help="Write the repaired set there, in the same format.")] = None,
    changes: Annotated[
        Path | None, typer.Option(help="Where its changes are listed; default: beside it, .changes.jsonl.")
    ] = None,
    leave: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="A kind that is reported and not repaired; again for more.")
    ] = None,
    suspects: Annotated[
        bool, typer.Option("--suspects", help="Repair suspects, too; a suspicion is often wrong.")
    ] = False,
    query_prompt: given.QueryPrompt = None,
    document_prompt: given.DocumentPrompt = None,
    cache: given.Cache = None,
    seed: Annotated[int, typer.Option(min=0, help="Of random texts and resamples.")] = 0,
    overwrite: given.Overwrite = False,
    skip_bad: given.SkipBad = False,
    json: given.Json = False,
) -> None:
    """Say what is wrong with the negatives of a set that you have, and write it repaired, every change listed."""
    if no_model:
        given.refuse(
            ctx,
            ("model", "query_prompt", "document_prompt", "cache", "alpha"),
            "needs a model, and --no-model says none",
        )
        if vetter is not None and cross_encoder is None:
            raise ValueError("--vetter reads scores, and --no-model says that there are none")
    if repaired is None:
        given.refuse(ctx, ("changes", "leave", "suspects"), "belongs to --repaired")
    if test is None:
        given.refuse(ctx, ("test_from", "test_split"), "belongs to --test")
    from litotes import catalog
    from litotes.audit.negatives.kinds import KINDS

    for name in leave or []:
        given.one_of("--leave", name, list(KINDS))
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; choose another place or --overwrite")
    part = None if vetter is None else catalog.parse(vetter, stage="vetter", scale="disk")
    options = dict(_option(text) for text in option or [])
    formats = [
        None if name is None else given.format_of(flag, name, "reader")
        for flag, name in (("--from", from_), ("--test-from", test_from))
    ]

    from litotes.audit.negatives import Settings, audit_negatives, write_page

    left = tuple(leave or ()) if suspects else ("suspect", *(name for name in leave or [] if name != "suspect"))
    settings = Settings(near, everywhere, alpha, typical, n, left, seed)
    data = None if collection is None else given.collection_of(collection, skip_bad=skip_bad)
    for place in (source, test):
        if place is not None and not place.exists():
            raise FileNotFoundError(f"nothing at {place}")
    encoder = None
    if not no_model:
        from litotes.data.encoder import Encoder

        encoder = Encoder(model, query_prompt=query_prompt, document_prompt=document_prompt, cache=cache)
    judge = None
    if cross_encoder is not None:
        from sentence_transformers import CrossEncoder

        from litotes.data.models import resolve_model

        judge = CrossEncoder(resolve_model(cross_encoder))
    found = audit_negatives(
        source,
        encoder=encoder,
        cross_encoder=judge,
        vetter=part,
        settings=settings,
        format=formats[0],
        collection=data,
        split=split,
        test=test,
        test_format=formats[1],
        test_collection=data,
        test_split=test_split,
        repaired=repaired,
        changes=changes,
        skip_bad=skip_bad,
        **options,
    )
    write_page(found, out)
    if found.bad:
        remark(found.bad)
    _say(found, out, json)


def _option(text: str) -> tuple[str, Any]:
    name, value = given.option("--option", text)
    given.one_of("--option", name, _READER)
    if name != "threshold":
        return name, value
    try:
        return name, float(value)
    except ValueError:
        raise ValueError(f"--option threshold: expected a number, got {value!r}") from None


def _say(found: Any, out: Path, json: bool) -> None:
    from dataclasses import asdict

    from litotes.audit.negatives.kinds import KINDS
    from litotes.audit.negatives.page import DONE
    from litotes.audit.negatives.words import headline, hidden_in_words, remedy
    from litotes.audit.report.words import count, share
    from litotes.cli.say import say, table

    if json:
        said = {
            "path": str(found.path),
            "format": found.format,
            **found.facts,
            "wanted": found.wanted,
            "found": found.found,
            "certain_false_negatives": found.certain,
            "false_negatives_at_most": None if found.hidden is None else asdict(found.hidden),
            "filler_at_most": None if found.filler is None else asdict(found.filler),
            "hardness": dict(found.steps),
            "test": None if found.leak is None else asdict(found.leak),
            "done": {f"{kind}: {what}": times for (kind, what), times in found.done.items()},
            "identical": found.identical,
            "page": str(out),
            "repaired": None if found.repaired is None else str(found.repaired),
            "changes": None if found.changes is None else str(found.changes),
            "notes": found.notes,
        }
        say(said)
        return
    print(headline(found) + "\n")
    lines = []
    for name, kind in KINDS.items():
        if name not in found.found:
            continue
        whole = found.rows if kind.counts == "rows" else found.negatives
        part = share(found.found[name] / whole) if whole else ""
        done = ", ".join(f"{count(found.done[name, what])} {what}" for what in DONE if found.done[name, what])
        last = done if found.repaired is not None else remedy(name)
        lines.append((kind.title, name, count(found.found[name]), part, last))
    table(("what", "kind", "found", "share", "done" if found.repaired is not None else "a repair"), lines)
    print()
    for sentence in hidden_in_words(found):
        print(sentence)
    for note in found.notes:
        print(f"note: {note}")
    if found.identical:
        print(f"\nrepaired {found.repaired}: nothing had to be changed, it is the set byte for byte")
    elif found.repaired is not None:
        total = sum(found.done.values())
        print(f"\nrepaired {found.repaired}: {count(total)} changes, listed in {found.changes}")
    print(f"page     {out}")
