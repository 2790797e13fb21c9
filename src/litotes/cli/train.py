"""litotes train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from litotes.cli import given

EXAMPLES = """
[bold]Examples[/bold]

  litotes train evidence DATA/scifact --out models/mine

  litotes train evidence.parquet pairs.csv --model BAAI/bge-small-en-v1.5 --n 4 --epochs 2 --out models/mine

  litotes train evidence DATA/scifact --objective 'symmetric(forward=infonce(temperature=0.02))' --out models/mine

  litotes train evidence DATA/scifact --batcher 'ngame(double_at=[1, 2])' --refresh auto --epochs 5 --out models/mine

  litotes train evidence DATA/scifact --ranker --model cross-encoder/ms-marco-MiniLM-L6-v2 --out models/ranker

  litotes train evidence DATA/scifact --trainer 'two_stage(max_steps=[2000, 1000])' --out models/mine
"""


_NOT_OF_A_RANKER = ("trainer", "batcher", "refresh", "guide", "mini_batch_size", "document_prompt")
_NOT_OF_A_TRAINER = (
    "objective", "n", "pick", "per", "batcher", "refresh", "epochs", "max_steps", "batch_size", "lr", "warmup",
    "weight_decay", "precision", "mini_batch_size", "guide", "query_prompt", "document_prompt", "ranker",
)  # fmt: skip
_COUNTS = {
    "short": "anchors with fewer negatives than asked",
    "bare": "anchors without a believed negative",
    "without_positive": "anchors left out for want of a believed positive",
}


def add(app: typer.Typer) -> None:
    app.command("train", epilog=EXAMPLES)(train)


def train(
    context: typer.Context,
    evidence: Annotated[Path, typer.Argument(help="Evidence: a folder or a .parquet file.")],
    collection: Annotated[str | None, typer.Argument(help="The collection that holds the texts.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the trained model, in the sentence-transformers format.")] = Path(
        "model"
    ),
    model: given.Model = given.MINILM,
    ranker: Annotated[
        bool, typer.Option("--ranker", help="Train a cross-encoder on groups: a query, a positive, its negatives.")
    ] = False,
    trainer: Annotated[
        str | None,
        typer.Option(help="Spelling of a trainer: a whole recipe of several phases, with settings of its own."),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="Spelling of an objective or a chain. Default: infonce, temperature 0.05; of a ranker 1."),
    ] = None,
    n: Annotated[int | None, typer.Option(min=0, help="Believed negatives per row. Default: 2; of a ranker 7.")] = None,
    pick: Annotated[str, typer.Option(help="Which of them: top or random.")] = "top",
    per: Annotated[
        str, typer.Option(help="What a row is: anchor, pair (a positive each), or triple (a negative each, too).")
    ] = "anchor",
    batcher: Annotated[str | None, typer.Option(help="Spelling of a batcher: what meets in a batch.")] = None,
    refresh: Annotated[
        str | None,
        typer.Option(help="Mine anew with the model in training: every so many steps, or auto (a tenth of the work)."),
    ] = None,
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
    """Train a sentence encoder, or a ranker, on evidence; doubts count, also where a pair meets by chance."""
    from litotes import catalog
    from litotes.cli.say import tell
    from litotes.evidence import Evidence

    given.one_of("--pick", pick, ("top", "random"))
    given.one_of("--per", per, ("anchor", "pair", "triple"))
    given.one_of("--precision", precision, ("auto", "fp32", "bf16"))
    # a misspelt part is refused before anything is read
    recipe = None if trainer is None else catalog.parse(trainer, stage="trainer")
    objective = objective or f"infonce(temperature={1.0 if ranker else 0.05})"
    catalog.parse(objective)
    meeting = None if batcher is None else catalog.parse(batcher, stage="batcher")
    anew = _refresh(refresh)
    if ranker:
        _refuse(context, "--ranker", _NOT_OF_A_RANKER)
    if trainer is not None:
        _refuse(context, "--trainer", _NOT_OF_A_TRAINER)
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
    settings: dict[str, Any] = {
        "objective": objective,
        "out": out,
        "epochs": epochs,
        "max_steps": max_steps,
        "batch_size": batch_size,
        "n": (7 if ranker else 2) if n is None else n,
        "how": pick,
        "per": per,
        "learning_rate": lr,
        "warmup": warmup,
        "weight_decay": weight_decay,
        "precision": precision,
        "seed": seed,
    }
    if recipe is not None:
        trained = recipe.train(model, store, data, out=out, seed=seed)
    elif ranker:
        from litotes.training.ranker.train import train_ranker

        trained = train_ranker(model, store, data, prompt=query_prompt, **settings)
    else:
        from litotes.training.retriever import train_retriever

        trained = train_retriever(
            model,
            store,
            data,
            **settings,
            mini_batch_size=mini_batch_size,
            guide=guide,
            batcher=meeting,
            refresh=anew,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
        )
    figures = {
        "model": str(trained.path),
        "steps": trained.steps,
        "texts per step": round(trained.texts_per_step, 1),
        "seconds": round(trained.seconds, 1),
        "last loss": trained.curve[-1]["loss"] if trained.curve else None,
        **{_COUNTS.get(name, name): count for name, count in trained.counts.items()},
    }
    if trained.refreshes:
        figures["mined anew"] = f"{len(trained.refreshes)} times; negatives that were new: " + ", ".join(
            f"{entry['new']:.0%}" for entry in trained.refreshes
        )
    tell(figures | ({"curve": trained.curve, "refreshes": trained.refreshes} if json else {}), json=json)


def _refresh(said: str | None) -> Any:
    """What `--refresh` asks for."""
    if said is None:
        return None
    from litotes.training.refresh import Refresh

    if said == "auto":
        return Refresh()
    if not said.isdigit() or int(said) < 1:
        raise ValueError(f"--refresh: expected a number of steps >= 1, or auto, got {said!r}")
    return Refresh(every=int(said))


def _refuse(context: typer.Context, chosen: str, names: tuple[str, ...]) -> None:
    """Refuse options that were said and would not be read."""
    sources = {name: context.get_parameter_source(name) for name in names}
    said = [name for name, source in sources.items() if source is not None and source.name != "DEFAULT"]
    if said:
        raise ValueError(f"{chosen}: has no use for " + ", ".join(f"--{name.replace('_', '-')}" for name in said))
