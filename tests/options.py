"""The options of config groups: those of conf/, and those of further config directories.

EXTRA_CONFIG_DIRS (folders, separated as in PATH) lets the laws run on one's own backbones and integrations:

    EXTRA_CONFIG_DIRS=mine/conf python -m pytest tests/backbones/test_backbone_laws.py
    EXTRA_CONFIG_DIRS=mine/conf python -m pytest tests/conditioning/test_integrations.py
"""

import os
from pathlib import Path

from backbones.transformers import write_klein
from commands import SMALL

from src.launch import CONF

EXTRA_DIRS = [Path(folder) for folder in os.environ.get("EXTRA_CONFIG_DIRS", "").split(os.pathsep) if folder]
CONFIG_DIRS = [CONF, *EXTRA_DIRS]
SEARCH_PATH = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in EXTRA_DIRS)}]"] * bool(
    EXTRA_DIRS
)
"""Overrides with which Hydra finds the options of the further directories."""


NATIVE = ("modulation", "both_modulation")
"""Integrations of transformers, whose sites a U-Net lacks: tests/backbones/test_flux2.py has their laws."""


def options(group: str) -> list[str]:
    return sorted({path.stem for folder in CONFIG_DIRS for path in (folder / group).glob("*.yaml")})


def small_backbone(option: str, pipeline: Path) -> list[str]:
    """Overrides that make a backbone small and spare it any download.

    A backbone that is not in conf/ names them in its yaml, in a line `# small: KEY=VALUE ...`; without that
    line it is built as it is.

    Args:
        option: of model/backbone.
        pipeline: a small diffusers pipeline.
    """
    stock = f"model.backbone.pretrained={pipeline}"
    base = [override.replace("backbone.", "backbone.base.") for override in (stock, *SMALL)]
    transformer = ("width=16", "depth=2", "channels=16", "hidden=16")
    ours = {
        "tiny": list(SMALL),
        "tiny_transformer": [f"model.backbone.{size}" for size in transformer],
        "inspix2pix": [stock],
        "smartedit": base[:1],
        "flux2_tiny": [],
        "smartedit_tiny": base[1:],
    }
    if option == "flux2_klein":
        klein = pipeline.parent / "klein"
        folder = klein if klein.exists() else write_klein(klein)
        return [f"model.backbone.pretrained={folder}", "model.backbone.text_length=96"]
    if option in ours:
        return ours[option]
    (yaml,) = [path for folder in EXTRA_DIRS for path in (folder / "model/backbone").glob(f"{option}.yaml")]
    lines = [
        line.removeprefix("# small:") for line in yaml.read_text().splitlines() if line.startswith("# small:")
    ]
    return [override for line in lines for override in line.split()]
