"""What the reward's forward hooks of every network share: they know the reward of the present call, or refuse
to run.

Hooks are partials of bound methods and not closures, so that a deepcopy or pickle of the owning module refers
to its own copies.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple, final

from src.backbones.backbone import check_reward
from src.batch import RewardTokens
from src.conditioning.integration import Integration


@final
class RewardedCall(NamedTuple):
    """What hooks know of the present call of their network.

    Attributes:
        reward: of its batch.
        noisy: number of tokens of the noisy image, which come first among those of images; of a transformer.
        text: number of tokens of text, which stand before those of images where both share a sequence.
    """

    reward: RewardTokens
    noisy: int = 0
    text: int = 0


class RewardHooks:
    """Calls an integration at its sites while `reward(...)` is active; subclasses register the hooks.

    Args:
        integration: of the reward.
        network: what messages call the network.
    """

    def __init__(self, integration: Integration, network: str) -> None:
        self.integration = integration
        self.network = network
        self.current: RewardedCall | None = None

    @contextmanager
    def reward(self, tokens: RewardTokens, noisy: int = 0, text: int = 0) -> Iterator[None]:
        """Inside this context the network is conditioned on these tokens (b, k, d); the rest as in
        `RewardedCall`.
        """
        before = self.current
        self.current = RewardedCall(tokens, noisy, text)
        try:
            yield
        finally:
            self.current = before

    def call_at(self, site: str, batch: int) -> RewardedCall:
        """The present call, whose hidden states at `site` have this batch size.

        Raises:
            RuntimeError: a call without a reward.
            ValueError: another number of rewards.
        """
        if self.current is None:
            raise RuntimeError(
                f"the {self.network} has a reward integration but ran without a reward (at {site!r}); go "
                "through Editor or `hooks.reward(...)`"
            )
        rewards = self.current.reward.tokens.shape[0]
        if batch != rewards:
            raise ValueError(f"{rewards} rewards for a batch of {batch} (at {site!r})")
        return self.current


def conditioned_on(
    hooks: RewardHooks | None, reward: RewardTokens | None, noisy: int = 0, text: int = 0
) -> AbstractContextManager[None]:
    """A context in which the network is conditioned on this reward, or on none if it has no integration; the
    rest as in `RewardedCall`.

    Raises:
        ValueError: an integration without a reward, or a reward that would be ignored.
    """
    check_reward(hooks is not None, reward)
    return nullcontext() if hooks is None or reward is None else hooks.reward(reward, noisy, text)
