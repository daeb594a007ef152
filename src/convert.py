"""Turn published weights into a model of this project, and back, bit for bit.

    python -m src.convert format=multi_reward_release source=stage2_reward_instruct_pix2pix target=my-editor
    python -m src.convert format=multi_reward_release source=my-editor target=DIR reverse=true
    python -m src.convert format=smartedit_release source=SmartEdit-7B target=my-smartedit llava=LLaVA-7B-v1-1

Both are what `src.export` writes: `checkpoint=my-editor` works in src.edit, src.evaluate and src.train, and
diffusers loads them. A converted SmartEdit is what the reward stage starts from; its pickles are never run,
every tensor is accounted for, and lora=kept lets it go back.
"""

from pathlib import Path

from omegaconf import DictConfig

from src import launch
from src.files import remove_leftovers

FORMATS = ("multi_reward_release", "smartedit_release")


def main(cfg: DictConfig) -> None:
    """Convert the folder `cfg.source` to the new folder `cfg.target`.

    Raises:
        ValueError: an unknown format, or a source or target that is missing.
    """
    if cfg.format not in FORMATS:
        raise ValueError(f"unknown format {cfg.format!r}: {' or '.join(FORMATS)} can be converted")
    for name in ("source", "target"):
        if not cfg[name]:
            raise ValueError(f"{name}=... is missing; see the head of src/convert.py for a command")
    source, target = Path(cfg.source), Path(cfg.target)
    if target.exists():
        raise ValueError(f"target={target} exists already: give a new folder")
    from src.formats.conversion import CONVERSIONS

    remove_leftovers(target.parent)
    there, back = CONVERSIONS[cfg.format]
    for line in (back if cfg.reverse else there)(cfg, source, target):
        print(line)


if __name__ == "__main__":
    launch.entry_point(main, "convert")
