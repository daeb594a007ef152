"""What is wrong with a dataset, without training on it.

    python -m src.check_data data=pix2pix_tree data.dataset.folder=DIR data.check=all
    python -m src.check_data data=table data.dataset.table.path=DIR +rewards@data.rewards=reward_file data.rewards.path=rewards.jsonl

Prints counts; with data.on_error=fail (the default), rows that can't be used are an error. All of them are
listed in a file.
"""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from src import launch


def main(cfg: DictConfig) -> None:
    """Build the data, look at it, print what was found.

    Raises:
        ValueError: rows that can't be used, unless data.on_error=skip.
    """
    report = instantiate(cfg.data).check(Path(cfg.target))
    print(report or "triplets made on the fly: there are no files to look at")


if __name__ == "__main__":
    launch.entry_point(main, "check_data")
