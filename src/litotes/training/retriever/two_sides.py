"""Models whose two sides differ: one encoder for queries, another for documents."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def query_side(model: SentenceTransformer) -> SentenceTransformer:
    """A copy of what encodes queries: the whole model, or its route for them."""
    routes = _routes(model)
    if routes is None:
        return copy.deepcopy(model)
    return _made(copy.deepcopy(routes["query"]), model)


def asymmetric(query: SentenceTransformer, document: SentenceTransformer) -> SentenceTransformer:
    """One model with a route for queries and one for documents, the default; prompts are those of `document`."""
    from sentence_transformers.sentence_transformer.modules import Router

    routes = _routes(document)
    modules = list(document) if routes is None else routes["document"]
    return _made([Router.for_query_document(list(query), modules, default_route="document")], document)  # type: ignore[arg-type]


def _routes(model: SentenceTransformer) -> dict[str, list[Any]] | None:
    """The modules of each side of a model that has routes for query and document; else None."""
    from sentence_transformers.sentence_transformer.modules import Router

    first, *rest = list(model)
    if not isinstance(first, Router) or not {"query", "document"} <= set(first.sub_modules):
        return None
    return {side: [*first.sub_modules[side], *rest] for side in ("query", "document")}  # type: ignore[misc]


def _made(modules: list[Any], like: SentenceTransformer) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        modules=modules,
        device=str(like.device),
        prompts=dict(like.prompts),  # type: ignore[arg-type]
        default_prompt_name=like.default_prompt_name,
        similarity_fn_name=like.similarity_fn_name,
    )
