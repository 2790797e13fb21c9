"""Chains that have a name: what joins parts of several rooms into one published loss."""

from __future__ import annotations

from typing import Literal

from litotes.chain import Chain
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.temperature import Temperature
from litotes.scoring import Cosine
from litotes.sources.same_side import SameSide
from litotes.vetting.gist import Gist


def gist_loss(
    temperature: Temperature = 0.01,
    margin: float = 0.0,
    strategy: Literal["absolute", "relative"] = "absolute",
    contrast_anchors: bool = True,
    contrast_positives: bool = True,
) -> Chain:
    """The loss of GISTEmbed: InfoNCE over all pairs of the batch that a guide does not take for positives.

        SameSide -> Cosine -> Gist -> InfoNCE

    The batch needs the features of a guide, `rows["guide"]` and `columns["guide"]`.

    Args:
        temperature: divides the cosines.
        margin, strategy: how far below its positive the line of a row lies, see `Gist`.
        contrast_anchors: anchors are negatives of each other.
        contrast_positives: positives are negatives of each other.
    Raises:
        ValueError: an argument is out of range.
    Source: GISTEmbed (arXiv:2402.16829), equation 6.
    """
    same_side = [SameSide(contrast_anchors, contrast_positives)] if contrast_anchors or contrast_positives else []
    return Chain(*same_side, Cosine(), Gist(margin, strategy), InfoNCE(temperature))
