"""litotes vectors"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from litotes.cli import given
from litotes.cli.say import tell

EXAMPLES = """
[bold]Examples[/bold]

  litotes vectors DATA/scifact --side corpus --to corpus.parquet

  litotes vectors DATA/scifact --side queries --cache vectors --to s3://bucket/queries.lance

  litotes vectors DATA/scifact --to corpus.lance --ray auto --workers 2
"""


def add(app: typer.Typer) -> None:
    app.command("vectors", epilog=EXAMPLES)(vectors)


def vectors(
    collection: Annotated[
        str | None, typer.Argument(help="A BEIR folder, a file of pairs, wordnet[:N], hf://owner/name[:config].")
    ] = None,
    to: Annotated[str, typer.Option(help="A .parquet file or .lance dataset, local or a URL.")] = "vectors.parquet",
    side: Annotated[str, typer.Option(help="corpus or queries.")] = "corpus",
    corpus: given.Corpus = None,
    queries: given.Queries = None,
    model: given.Model = given.MINILM,
    query_prompt: given.QueryPrompt = None,
    document_prompt: given.DocumentPrompt = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    cache: given.Cache = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Encode on Ray: auto, local, or a host:port.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="How many, with --ray.")] = None,
    overwrite: given.Overwrite = False,
    skip_bad: given.SkipBad = False,
    json: given.Json = False,
) -> None:
    """Encode one side of a collection and write the vectors with their ids."""
    given.one_of("--side", side, ("corpus", "queries"))
    given.one_of("--dtype", dtype, given.DTYPES)
    if workers is not None and ray is None:
        raise ValueError("--workers needs --ray")
    if not to.rstrip("/").endswith((".parquet", ".lance")):
        raise ValueError(f"--to {to!r}: the ending must be .parquet or .lance")
    if "://" not in to and Path(to).exists() and not overwrite:
        raise FileExistsError(f"--to {to}: it exists; choose another place, or say --overwrite")
    from litotes.cluster import Cluster
    from litotes.data.encoder import Encoder
    from litotes.data.vector_files import write_vectors

    data = given.collection_of(collection, corpus=corpus, queries=queries, skip_bad=skip_bad)
    encoder = Encoder(model, cache=cache, dtype=dtype, query_prompt=query_prompt, document_prompt=document_prompt)
    if side == "corpus":
        kind, ids, texts = "document", data.corpus["id"], data.document_texts()
    else:
        kind, ids, texts = "query", data.queries["id"], data.query_texts()
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix="litotes-", dir=cache) as folder,
        nullcontext() if ray is None else Cluster(ray, workers) as cluster,
    ):
        if cluster is not None:
            from litotes.data.on_ray import RayEncoder

            encoder = RayEncoder(encoder, cluster)
        made = encoder.encode(texts, kind, out=Path(folder) / "vectors.npy")  # mapped: a side may exceed the memory
        write_vectors(to, ids.to_pylist(), made, overwrite=overwrite)
    about = {"vectors": to, "model": encoder.name, "checksum": encoder.checksum, "similarity": encoder.similarity}
    tell(about | {"rows": len(made), "dimensions": made.shape[1]}, json=json, title=f"wrote {data.name}, {side}")
