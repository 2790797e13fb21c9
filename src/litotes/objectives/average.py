"""How the costs of a batch become one number, in one place for all objectives."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import Tensor

from litotes.ops import weighted_mean


def average_terms(
    how: str,
    cost: Tensor,
    weight: Tensor,
    *,
    terms: Callable[[], Tensor],
    positives: Callable[[], Tensor] | None = None,
) -> Tensor:
    """One number from costs and weights [B, ...]; the terms of an anchor are all behind the first axis.

        term      sum w c / sum w
        anchor    mean, over the anchors with a believed term, of sum w c / sum w of the anchor
        positive  sum w c / sum of the weights of the positives
        count     sum w c / number of terms that are there, those of weight 0 counted
        sum       sum w c

    A sum without terms is 0 and keeps its graph. "term" does not change if all weights shrink by one factor, "count"
    does.

    Args:
        terms: gives the number of terms that are there; called for "count" only.
        positives: gives the sum of the weights of the positives; called for "positive" only.
    """
    if how == "term":
        return weighted_mean(cost, weight)
    if how == "anchor":
        of_anchor, believed = anchor_means(cost, weight)
        return weighted_mean(of_anchor, (believed > 0).to(of_anchor.dtype))
    total = (weight * cost.masked_fill(weight == 0, 0)).sum()
    if how == "sum":
        return total
    divisor = terms() if how == "count" or positives is None else positives()
    return total / divisor.masked_fill(divisor == 0, 1)


def anchor_means(cost: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Per anchor the weighted mean of its costs and the sum of its weights: [B] and [B], both 0 without a term."""
    cost, weight = cost.flatten(1), weight.flatten(1)
    believed = weight.sum(dim=1)
    total = (weight * cost.masked_fill(weight == 0, 0)).sum(dim=1)
    return total / believed.masked_fill(believed == 0, 1), believed


def checked_average(how: str, allowed: Collection[str], part: str) -> str:
    """`how`, if it is one of `allowed`.

    Raises:
        ValueError: it is not; the part, the value and the choice are named.
    """
    if how not in allowed:
        raise ValueError(f"{part}: average must be one of {', '.join(map(repr, allowed))}, got {how!r}")
    return how
