"""One training loop; what is minimized is passed in as an objective (paper 3.1.3, 3.2.2, 3.4)."""

from rslib.training.alignment import Aligned as Aligned
from rslib.training.alignment import NoMasks as NoMasks
from rslib.training.loop import TrainingError as TrainingError
from rslib.training.loop import fit as fit
from rslib.training.loop import score as score
from rslib.training.loop import validating as validating
from rslib.training.objectives import Adversarial as Adversarial
from rslib.training.objectives import Attacker as Attacker
from rslib.training.objectives import Noise as Noise
from rslib.training.objectives import Objective as Objective
from rslib.training.objectives import Standard as Standard
from rslib.training.objectives import Step as Step
from rslib.training.objectives import Trades as Trades
from rslib.training.objectives import objective as objective
