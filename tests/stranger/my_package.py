"""What a stranger keeps outside of this repository: an integration and a judge of their own."""

import numpy as np
from torch import nn

from src.conditioning.integration import Integration, width_of
from src.judges.judge import reward_key
from src.records import Reward, Verdict


class Scale(Integration):
    """The stem's channels times one plus a linear map of the pooled reward."""

    sites, touches_skips, identity_at_init = ("stem",), False, True

    def __init__(self, reward_width, signals, site_widths) -> None:
        super().__init__()
        self.scale = nn.Linear(reward_width, width_of("stem", site_widths))
        nn.init.zeros_(self.scale.weight)
        nn.init.zeros_(self.scale.bias)

    def apply_at(self, site, hidden, reward):
        return hidden * (1.0 + self.scale(reward.pooled())[:, :, None, None])


class Near:
    """Scores how little was changed, in all three perspectives."""

    name = "near"

    def __init__(self, strictness: float) -> None:
        self.strictness, self.fingerprint = strictness, f"near {strictness}"

    def judge(self, triplets):
        return [self._judge(triplet) for triplet in triplets]

    def _judge(self, triplet) -> Reward:
        change = np.abs(triplet.edited.astype(float) - triplet.case.original).mean() / 255
        verdict = Verdict(max(0.0, 5.0 - self.strictness * change), bool(change < 0.1))
        key = reward_key(triplet, self.fingerprint)
        return Reward(triplet.case.id, self.name, key, verdict, verdict, verdict)
