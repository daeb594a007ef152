"""Convert published weights to a model of this project and back, bit for bit.

    python -m src.convert format=multi_reward_release source=stage2_reward_instruct_pix2pix output=my-editor
    python -m src.convert format=multi_reward_release source=my-editor output=DIR reverse=true
    python -m src.convert format=smartedit_release source=SmartEdit-7B output=my-smartedit llava=LLaVA-7B-v1-1

The result has the format of `src.export`: src.edit, src.evaluate and src.train take it as
`checkpoint=my-editor`, and diffusers loads it. The reward stage starts from a converted SmartEdit. Its
pickles are never executed, every tensor is accounted for, and with lora=kept it can be converted back.
"""

from pathlib import Path

from omegaconf import DictConfig

from src import launch
from src.files import remove_leftovers

FORMATS = ("multi_reward_release", "smartedit_release")


def main(cfg: DictConfig) -> None:
    """Convert the folder `cfg.source` to the new folder `cfg.output`.

    Raises:
        ValueError: an unknown format, or a source or output that is missing.
    """
    if cfg.format not in FORMATS:
        raise ValueError(f"unknown format {cfg.format!r}: {' or '.join(FORMATS)} can be converted")
    for name in ("source", "output"):
        if not cfg[name]:
            raise ValueError(f"{name}=... is missing; see the head of src/convert.py for a command")
    source, output = Path(cfg.source), Path(cfg.output)
    if output.exists():
        raise ValueError(f"output={output} exists already: give a new folder")
    from src.formats.conversion import CONVERSIONS

    remove_leftovers(output.parent)
    there, back = CONVERSIONS[cfg.format]
    for line in (back if cfg.reverse else there)(cfg, source, output):
        print(line)


if __name__ == "__main__":
    launch.entry_point(main, "convert")
