"""Inspect reward data before training on it: one HTML page with images, numbers and findings.

    python -m src.inspect_rewards                                           # the synthetic world's annotator
    python -m src.inspect_rewards data=table data.dataset.table.path=PATH   # a dataset with reward columns
    python -m src.inspect_rewards data=json_list data.dataset.file=rows.json rewards_file=rewards.jsonl
    python -m src.inspect_rewards data=table data.dataset.table.path=PATH leakage=[DIR] fail_on=[leak]
    python -m src.inspect_rewards rewards_file=rewards.jsonl judge_name=gpt4o   # rewards without images
    python -m src.inspect_rewards rewards_file=rewards.jsonl selection=curated/selection.jsonl   # kept, lost

The folder `output` then holds index.html (self-contained; open it in a browser), histograms.png and
word_clouds.png (the paper's Figures 3 and 4), correlations.png, examples_<perspective>.png, summary.json and
findings.jsonl. logger=wandb sends figures, numbers and a table there, too.

In the synthetic world the truth is known, and a table shows how precise the annotator's labels are: an editor
asked for 5/5/5, or for "None" three times, learns from the triplets annotated so. The share of clean triplets
among them bounds what each signal can teach, and so predicts the order of Table 4 of the paper (score, text,
both).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from hydra.utils import instantiate
from omegaconf import DictConfig

from src import launch
from src.data.dataset import RewardedTriplets
from src.data.lint import KINDS, Finding, KnownImage, LintEntry, lint
from src.data.rewards import WithRewards
from src.data.synthetic import SyntheticTriplets
from src.data.without_loader import dataset_location, without_loader
from src.inspection.curation import read_selected, summarise_curation
from src.inspection.known_images import hash_cases, hash_files, image_files
from src.inspection.oracle import OracleScored
from src.inspection.summary import summarise
from src.inspection.terminal import print_tables
from src.inspection.triplet_source import (
    FirstTriplets,
    GeneratedTriplets,
    RewardFile,
    RewardsOnly,
    StoredTriplets,
    TripletSource,
    check_ids,
    read_reward_file,
    with_file_rewards,
)
from src.progress import with_progress
from src.synthetic.annotation import Unrated
from src.tracking.settings import logger_nodes

SYNTHETIC_COUNT = 2000
NO_FILE = RewardFile("", "", {}, {}, ())


@final
@dataclass(frozen=True)
class InspectedData:
    """Triplets to inspect.

    Attributes:
        name: on the page.
        source: where the triplets come from.
        oracle: knows the true scores of synthetic triplets; None for other data.
    """

    name: str
    source: TripletSource
    oracle: OracleScored | None = None


def main(cfg: DictConfig) -> None:
    """Inspect everything, write the folder `cfg.output`, print what was found.

    Raises:
        FileNotFoundError: no such dataset, reward file, font or folder.
        ValueError: nothing to inspect, rewards of other triplets, several judges and none chosen, or findings
            of a kind in `cfg.fail_on`.
    """
    check_request(cfg)
    rewards = NO_FILE if cfg.rewards_file is None else read_reward_file(cfg.rewards_file, cfg.judge_name)
    data = open_data(cfg, rewards)
    if cfg.data is not None:
        check_ids(data.source, rewards)
    known = known_images(cfg)
    entries = read_lint_entries(data, rewards)
    selected = {} if cfg.selection is None else read_selected(cfg.selection, [entry.id for entry in entries])
    curation = summarise_curation(entries, selected) if selected else None
    findings = lint(entries, known, instantiate(cfg.limits))

    # draws with matplotlib and wordcloud, which --help and a refused request do without
    from src.inspection.folder import Inspection, write_inspection

    judge = rewards.judge or next((entry.reward.judge for entry in entries if entry.reward is not None), "")
    unused = 0 if cfg.count is not None else len(rewards.chosen.keys() - {entry.id for entry in entries})
    summary = summarise(cfg.name or data.name, judge, entries, findings, rewards.usages, unused)
    precision = [] if data.oracle is None else data.oracle.precision_of(entries, cfg.clean)
    inspection = Inspection(data.source, entries, findings, summary, precision, selected, curation)
    folder = Path(cfg.output)
    font = None if cfg.font is None else Path(cfg.font)
    cards = write_inspection(inspection, folder, cfg.per_score, cfg.per_kind, font)
    print_tables(summary, precision, cfg.clean)
    print(folder / "index.html")
    for node in logger_nodes(cfg):
        from src.inspection.log import log_inspection

        log_inspection(instantiate(node), folder, summary, cards)
    refuse_findings(findings, cfg.fail_on, folder / "findings.jsonl")


def check_request(cfg: DictConfig) -> None:
    """Raise ValueError for mistakes that would otherwise only show at the end."""
    if cfg.count is not None and cfg.count < 1:
        raise ValueError(f"count={cfg.count}: inspect at least one triplet, or all with count=null")
    unknown = [kind for kind in cfg.fail_on if kind not in (*KINDS, "fault", "hint")]
    if unknown:
        raise ValueError(f"fail_on names no kind of finding {unknown[0]!r}: fault, hint, {', '.join(KINDS)}")
    if cfg.leakage and not cfg.check_images:
        raise ValueError("leakage= compares images, which check_images=false skips: leave out one of the two")
    if cfg.judge_name is not None and cfg.rewards_file is None:
        raise ValueError(
            f"judge_name={cfg.judge_name} chooses among the judges of rewards_file=FILE, which is not given"
        )
    if cfg.font is not None:
        from src.fonts import drawable_letters

        drawable_letters(Path(cfg.font))


def open_data(cfg: DictConfig, rewards: RewardFile) -> InspectedData:
    """Open the dataset of `cfg.data`, the reward file alone, or the synthetic world.

    Raises:
        ValueError: data that can't be inspected, or an annotator that rates nothing.
    """
    if cfg.data is not None:
        data = open_dataset(cfg)
    elif cfg.rewards_file is not None:
        data = InspectedData(Path(cfg.rewards_file).name, RewardsOnly(rewards.chosen))
    else:
        world, annotator = instantiate(cfg.world), instantiate(cfg.annotator)
        count = cfg.count or SYNTHETIC_COUNT
        data = synthetic_data(SyntheticTriplets(world, annotator, count, cfg.split, cfg.seed), cfg)
    return data if cfg.count is None else replace(data, source=FirstTriplets(data.source, cfg.count))


def open_dataset(cfg: DictConfig) -> InspectedData:
    """Open the dataset of a data config. Raises ValueError for a stream."""
    if "stream" in cfg.data:
        raise ValueError(
            "data=stream can't be inspected, as its rows can't be read twice: "
            "open the same files with data=table"
        )
    dataset: Any = instantiate(without_loader(cfg.data)).dataset
    if isinstance(dataset, WithRewards):
        source = StoredTriplets(dataset.rows, dataset.rewards, cfg.check_images)
        return InspectedData(dataset_location(cfg.data), source)
    if isinstance(dataset, SyntheticTriplets):
        return synthetic_data(dataset, cfg)
    assert isinstance(dataset, RewardedTriplets)
    return InspectedData(type(dataset).__name__, GeneratedTriplets(dataset, cfg.check_images))


def synthetic_data(triplets: SyntheticTriplets, cfg: DictConfig) -> InspectedData:
    """Inspect triplets of the synthetic world, with the rewards of a file or else the annotator's.

    Raises:
        ValueError: an annotator that rates nothing.
    """
    world = triplets.world
    name = f"synthetic world {world.version(triplets.split)}, {world.size} px"
    if cfg.rewards_file is not None:
        unrated = SyntheticTriplets(world, Unrated(), triplets.length, triplets.split, triplets.seed)
        return InspectedData(name, GeneratedTriplets(unrated, cfg.check_images))
    if isinstance(triplets.annotator, Unrated):
        raise ValueError(
            "annotator=unrated gives no rewards to inspect: say annotator=noisy or annotator=exact"
        )
    oracle = OracleScored(triplets)
    return InspectedData(name, GeneratedTriplets(oracle, cfg.check_images), oracle)


def read_lint_entries(data: InspectedData, rewards: RewardFile) -> list[LintEntry]:
    """Read every triplet, with the rewards of the file if there is one.

    Raises:
        ValueError: there are no rewards at all.
    """
    source = data.source
    portions = with_progress(source.entries(), len(source), "inspecting", "triplets")
    entries = [entry for portion in portions for entry in portion]
    if rewards is not NO_FILE:
        return with_file_rewards(entries, rewards)
    if all(entry.reward is None for entry in entries):
        raise ValueError(
            f"{data.name} has no rewards to inspect: give rewards_file=FILE, or a dataset with reward columns"
        )
    return entries


def known_images(cfg: DictConfig) -> list[KnownImage]:
    """Hash the images of everything in `cfg.leakage`. Raises FileNotFoundError or ValueError."""
    found: list[KnownImage] = []
    for place in cfg.leakage:
        if (launch.CONF / "benchmark" / f"{place}.yaml").is_file():
            evaluation = launch.composed("evaluate", f"benchmark={place}")
            evaluation.world = cfg.world
            found += hash_cases(instantiate(evaluation.benchmark))
        else:
            files = image_files(Path(place))
            portions = with_progress(hash_files(files, Path(place)), len(files), f"reading {place}", "images")
            found += [known for portion in portions for known in portion]
    return found


def refuse_findings(findings: Sequence[Finding], fail_on: Sequence[str], listed: Path) -> None:
    """Raise ValueError if there are findings of a kind or level in `fail_on`."""
    refused = [finding for finding in findings if finding.kind in fail_on or finding.level in fail_on]
    if refused:
        numbers = {kind: sum(finding.kind == kind for finding in refused) for kind in KINDS}
        kinds = ", ".join(f"{kind} {number}" for kind, number in numbers.items() if number)
        raise ValueError(f"{len(refused)} findings that fail_on names ({kinds}): see {listed}")


if __name__ == "__main__":
    launch.entry_point(main, "inspect_rewards")
