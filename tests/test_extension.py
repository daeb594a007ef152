"""A custom backbone and integration, each a file and a yaml, pass the laws without an edit of the tests."""

import os
import subprocess
import sys
from pathlib import Path

BACKBONE = '''
import functools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from src.backbones.backbone import Backbone, refuse_answers
from src.batch import TextTokens


class HomemadeBackbone(Backbone):
    """Two convolutions on pixels; reads bytes."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(257, 24, padding_idx=256)
        self.stem, self.block = nn.Conv2d(6, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.text, self.time = nn.Linear(24, width), nn.Linear(1, width)
        self.out = nn.Conv2d(width, 3, 3, padding=1)
        self.current = None
        self.has_integration = False

    @property
    def text_width(self) -> int:
        return 24

    @property
    def site_widths(self) -> dict[str, int]:
        return {"stem": self.stem.out_channels, "block.0": self.block.out_channels}

    @property
    def supports_chat(self) -> bool:
        return False

    def latent_shape(self, height, width):
        return 3, height, width

    def attach(self, integration) -> None:
        self.has_integration = True
        for site, module in (("stem", self.stem), ("block.0", self.block)):
            if site in integration.sites:
                module.register_forward_hook(functools.partial(self._act, [integration], site))

    def _act(self, integrations, site, module, inputs, output):
        return integrations[0].apply_at(site, output, self.current)

    def encode_image(self, original):
        return original

    def encode_edited(self, edited, original_latent, noise):
        return edited

    def decode(self, latent, original_latent):
        return latent.clamp(-1.0, 1.0)

    def encode_text(self, texts: Sequence[str]) -> TextTokens:
        ids = [[1, *text.encode()] for text in texts]
        longest = max(map(len, ids))
        padded = torch.tensor([[*row, *[256] * (longest - len(row))] for row in ids])
        return TextTokens(self.embedding(padded), padded != 256)

    def read(self, original, instructions, answers=None):
        refuse_answers(answers)
        return None

    def adopt(self, tensors: Mapping[str, Tensor], source: str) -> Mapping[str, Tensor]:
        return tensors

    def denoise(self, x_t, network_time, condition):
        if self.has_integration != (condition.reward is not None):
            raise ValueError("a reward is missing, or would be ignored")
        self.current = condition.reward
        hidden = self.stem(torch.cat([x_t, condition.original_latent], 1))
        time = (network_time.float().unsqueeze(1) / 1000).to(self.time.weight.dtype)
        shift = self.text(condition.instruction.mean()) + self.time(time)
        output = self.out(torch.relu(self.block(hidden + shift[:, :, None, None])))
        self.current = None
        return output
'''

BACKBONE_YAML = """# Two convolutions, for a test of extensions.
# small: model.backbone.width=16
_target_: homemade_backbone.HomemadeBackbone
width: 64
"""

INTEGRATION = '''
from torch import nn

from src.conditioning.integration import Integration, width_of


class HomemadeIntegration(Integration):
    """The stem's channels times one plus a linear map of the pooled reward."""

    def __init__(self, reward_width, signals, site_widths, init="zero") -> None:
        super().__init__()
        self.init = init
        self.scale = nn.Linear(reward_width, width_of("stem", site_widths))
        if init == "zero":
            nn.init.zeros_(self.scale.weight)
            nn.init.zeros_(self.scale.bias)

    @property
    def sites(self):
        return ("stem",)

    @property
    def touches_skips(self) -> bool:
        return False

    @property
    def identity_at_init(self) -> bool:
        return self.init == "zero"

    def apply_at(self, site, hidden, reward):
        return hidden * (1.0 + self.scale(reward.pooled())[:, :, None, None])
'''

INTEGRATION_YAML = """# The stem scaled by the reward, for a test of extensions.
_target_: homemade_integration.HomemadeIntegration
_partial_: true
init: zero
"""

FILES = {
    "homemade_backbone.py": BACKBONE,
    "homemade_integration.py": INTEGRATION,
    "conf/model/backbone/homemade.yaml": BACKBONE_YAML,
    "conf/model/integration/homemade.yaml": INTEGRATION_YAML,
}
TESTS = Path(__file__).parent
LAWS = {"backbones/test_backbone_laws.py": 11, "conditioning/test_integrations.py": 10, "test_config.py": 4}
"""Files of laws, and how many of them concern a backbone or an integration."""


def test_the_laws_run_on_a_backbone_and_an_integration_of_ones_own(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
        "EXTRA_CONFIG_DIRS": str(tmp_path / "conf"),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-rp",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "-k",
        "homemade",
    ]
    done = subprocess.run(
        [*command, *(str(TESTS / file) for file in LAWS)],
        env=environment,
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    passed = [line for line in done.stdout.splitlines() if line.startswith("PASSED") and "homemade" in line]
    for file, laws in LAWS.items():
        assert sum(f"tests/{file}::" in line for line in passed) == laws, "\n".join(passed)
