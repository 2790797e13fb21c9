"""litotes train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from litotes.cli import given

EXAMPLES = """
[bold]Examples[/bold]

  litotes train evidence DATA/scifact --out models/mine

  litotes train evidence.parquet pairs.csv --model BAAI/bge-small-en-v1.5 --n 4 --epochs 2 --out models/mine

  litotes train evidence DATA/scifact --objective 'symmetric(forward=infonce(temperature=0.02))' --out models/mine
"""


_COUNTS = {
    "short": "anchors with fewer negatives than asked",
    "bare": "anchors without a believed negative",
    "without_positive": "anchors left out for want of a believed positive",
}


def add(app: typer.Typer) -> None:
    app.command("train", epilog=EXAMPLES)(train)


def train(
    evidence: Annotated[Path, typer.Argument(help="Evidence: a folder or a .parquet file.")],
    collection: Annotated[str | None, typer.Argument(help="The collection that holds the texts.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the trained model, in the sentence-transformers format.")] = Path(
        "model"
    ),
    model: given.Model = given.MINILM,
    objective: Annotated[str, typer.Option(help="Spelling of an objective or a chain.")] = "infonce(temperature=0.05)",
    n: Annotated[int, typer.Option(min=0, help="Believed negatives per anchor.")] = 2,
    pick: Annotated[str, typer.Option(help="Which of them: top or random.")] = "top",
    epochs: Annotated[float, typer.Option(min=0, help="Passes over the anchors.")] = 1,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Steps, instead of epochs.")] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Anchors per step.")] = 32,
    lr: Annotated[float, typer.Option(help="Learning rate at its peak.")] = 2e-5,
    warmup: Annotated[float, typer.Option(help="Share of the steps over which it rises.")] = 0.1,
    weight_decay: Annotated[float, typer.Option(help="Of AdamW.")] = 0.01,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    mini_batch_size: Annotated[
        int | None, typer.Option(min=1, help="Gradient caching: texts encoded at a time.")
    ] = None,
    guide: Annotated[str | None, typer.Option(help="A second model, for chains with a part that reads one.")] = None,
    corpus: given.Corpus = None,
    queries: given.Queries = None,
    qrels: given.Qrels = None,
    anchor_column: given.AnchorColumn = None,
    positive_column: given.PositiveColumn = None,
    query_prompt: given.QueryPrompt = None,
    document_prompt: given.DocumentPrompt = None,
    seed: Annotated[int, typer.Option(min=0, help="Of dropout, batches and draws.")] = 0,
    skip_bad: given.SkipBad = False,
    json: given.Json = False,
) -> None:
    """Train a sentence encoder on evidence; doubts count, also where a pair meets by chance in a batch."""
    from litotes import catalog
    from litotes.cli.say import tell
    from litotes.evidence import Evidence
    from litotes.training.retriever import train_retriever

    given.one_of("--pick", pick, ("top", "random"))
    given.one_of("--precision", precision, ("auto", "fp32", "bf16"))
    catalog.parse(objective)  # a misspelt one is refused before anything is read
    store = Evidence.open(evidence)
    data = given.collection_of(
        collection,
        corpus=corpus,
        queries=queries,
        qrels=qrels,
        anchor=anchor_column,
        positive=positive_column,
        skip_bad=skip_bad,
    )
    given.same_collection(store, data)
    trained = train_retriever(
        model,
        store,
        data,
        objective=objective,
        out=out,
        epochs=epochs,
        max_steps=max_steps,
        batch_size=batch_size,
        n=n,
        how=pick,  # type: ignore[arg-type]
        learning_rate=lr,
        warmup=warmup,
        weight_decay=weight_decay,
        precision=precision,  # type: ignore[arg-type]
        mini_batch_size=mini_batch_size,
        guide=guide,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        seed=seed,
    )
    figures = {
        "model": str(trained.path),
        "steps": trained.steps,
        "texts per step": round(trained.texts_per_step, 1),
        "seconds": round(trained.seconds, 1),
        "last loss": trained.curve[-1]["loss"] if trained.curve else None,
        **{_COUNTS.get(name, name): count for name, count in trained.counts.items()},
    }
    tell(figures | ({"curve": trained.curve} if json else {}), json=json)
