"""How the model is pushed: objectives turn a scored batch into one scalar."""

from litotes.objectives.cached import Cached
from litotes.objectives.combine import Only, Sum, Symmetric
from litotes.objectives.contrastive.debiased import DebiasedInfoNCE
from litotes.objectives.contrastive.infonce import InfoNCE
from litotes.objectives.contrastive.progressive import ByDifficulty, ProgressiveInfoNCE
from litotes.objectives.contrastive.sigmoid import SigmoidPairs
from litotes.objectives.contrastive.soft_target import SoftTargetInfoNCE
from litotes.objectives.listwise.adore import Adore
from litotes.objectives.listwise.ar2 import Ar2
from litotes.objectives.pairwise.hinge import Hinge
from litotes.objectives.pairwise.logistic import PairwiseLogistic
from litotes.objectives.pairwise.margin_mse import MarginMSE
from litotes.objectives.reweighted import Reweighted
from litotes.objectives.temperature import LearnedTemperature, ScheduledTemperature

__all__ = [
    "Adore",
    "Ar2",
    "ByDifficulty",
    "Cached",
    "DebiasedInfoNCE",
    "Hinge",
    "InfoNCE",
    "LearnedTemperature",
    "MarginMSE",
    "Only",
    "PairwiseLogistic",
    "ProgressiveInfoNCE",
    "Reweighted",
    "ScheduledTemperature",
    "SigmoidPairs",
    "SoftTargetInfoNCE",
    "Sum",
    "Symmetric",
]
