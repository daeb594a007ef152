"""Check a dataset without training on it.

    python -m src.check_data data=pix2pix_tree data.dataset.folder=DIR data.check=all
    python -m src.check_data data=table data.dataset.table.path=DIR data.on_error=skip
    python -m src.check_data data=table ... +rewards@data.rewards=reward_file data.rewards.path=rewards.jsonl

Prints counts, and lists rows that can't be used in the file `output`; with data.on_error=fail (the default)
they are an error.
"""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from src import launch
from src.data.without_loader import without_loader


def main(cfg: DictConfig) -> None:
    """Build the data, check it, print the report.

    Raises:
        ValueError: rows that can't be used, unless data.on_error=skip.
    """
    report = instantiate(without_loader(cfg.data)).check(Path(cfg.output))
    print(report or "triplets made on the fly: there are no files to check")


if __name__ == "__main__":
    launch.entry_point(main, "check_data")
