"""How the model is pushed: objectives turn a scored batch into one scalar."""

from litotes.objectives.cached import Cached
from litotes.objectives.combine import Only, Sum, Symmetric
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.contrastive.soft_target import SoftTargetInfoNCE
from litotes.objectives.pairwise.hinge import Hinge
from litotes.objectives.pairwise.margin_mse import MarginMSE
from litotes.objectives.temperature import LearnedTemperature, ScheduledTemperature

__all__ = [
    "Cached",
    "Hinge",
    "InfoNCE",
    "LearnedTemperature",
    "MarginMSE",
    "Only",
    "ScheduledTemperature",
    "SoftTargetInfoNCE",
    "Sum",
    "Symmetric",
]
