r"""Choose the rows of a dataset that are worth training on, by the rewards of any judge: no model runs, and
no picture is decoded.

    python -m src.curate annotations=annotations curation=top curation.share=0.4
    python -m src.curate annotations=annotations curation=threshold curation.utility=4 curation.preserving=4.5
    python -m src.curate annotations=annotations data=table data.dataset.table.path=DIR output=balanced \
        curation=top curation.share=0.4 curation.per_type=true curation.per_photograph=3
    python -m src.curate annotations=annotations curation=top curation.share=0.4 lower_bound=1  # the sure
    python -m src.curate annotations=annotations curation=random like=curated output=control  # the control
    python -m src.train data=table data.dataset.table.path=DIR data.only=curated/selection.jsonl

The folder `output` then holds selection.jsonl (every row, the best first: kept or not, and why),
curation.json (rule, judge, counts) and, with data=, rows.jsonl (edit type, photograph and bytes of each row,
for other rules). dataset=DIR also writes the kept rows with their pictures and a card, in shards if wanted.
After a kill at any moment the same command ends with the same files.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from src import files, launch
from src.annotation.folder import REQUEST, REWARDS
from src.annotation.merge import find_shards
from src.curation.record import (
    RECORD,
    SELECTION,
    Curated,
    CurationRecord,
    curate,
    kept_like,
    record_of,
    write_record,
    write_selection,
)
from src.curation.row_facts import list_rows, read_row_facts, unknown_facts
from src.curation.rules import Random, Rule
from src.curation.scored_rows import ScoredRows, read_scored_rows
from src.data.all_rows import Shard, parse_shard
from src.data.without_loader import dataset_location, rows_alone, rows_request
from src.differences import unlike_request
from src.evaluation.selection import Selection
from src.files import discard, one_at_a_time, remove_leftovers
from src.missing_settings import check_complete
from src.settings.help_page import options_of


def main(cfg: DictConfig) -> None:
    """Read rewards, choose, write the selection, and the dataset if one is asked for.

    Raises:
        FileNotFoundError: no such reward file, selection or dataset.
        ValueError: settings that don't fit together, rewards that can't be used, or nothing is kept.
    """
    shard = check_request(cfg)
    selection = Selection(cfg.weights)
    places = [Path(str(each)) for each in listed(cfg.annotations)]
    rows = read_scored_rows([file for place in places for file in reward_files(place)], cfg.judge_name)
    rule = final_rule(cfg, rows)
    output, asked = Path(cfg.output), request(cfg)
    with nothing_left(output), claimed(output, asked):
        facts = unknown_facts(rows)
        if cfg.data is not None:
            facts = read_row_facts(list_rows(instantiate(rows_alone(cfg.data)), output), rows)
        elif cfg.rows_file is not None:
            facts = read_row_facts(Path(cfg.rows_file), rows)
        curated = curate(rows, facts, rule, selection, cfg.seed, float(cfg.lower_bound))
        record = record_of(curated, rule, asked, fingerprints(places))
        write_selection(curated, output / SELECTION)
        write_record(record, output / RECORD)
    print(summary(record))
    print(output / SELECTION)
    if cfg.dataset is not None:
        copy_dataset(cfg, curated, record, shard)


def check_request(cfg: DictConfig) -> Shard:
    """The part to write. Raises ValueError where the command contradicts itself, before anything is read."""
    if cfg.curation is None:
        raise ValueError(f"curation= is missing, the rule: one of {', '.join(options_of('curation'))}")
    check_complete(cfg)
    if not 0 <= cfg.lower_bound < math.inf:
        raise ValueError(f"lower_bound={cfg.lower_bound}: a number of deviations, 0 or more, is needed")
    early_rule(cfg)
    if not listed(cfg.annotations):
        raise ValueError("annotations=[] names no rewards: give an annotation's folder or a reward file")
    if cfg.data is not None and cfg.rows_file is not None:
        raise ValueError(
            f"data= and rows_file={cfg.rows_file} both tell of the rows: leave out one of the two"
        )
    if cfg.dataset is not None and cfg.data is None:
        raise ValueError(
            f"dataset={cfg.dataset} is to hold pictures: give data=, the dataset that was judged"
        )
    if cfg.dataset is not None and Path(cfg.dataset).resolve() == Path(cfg.output).resolve():
        raise ValueError(f"dataset={cfg.dataset} and output= are one folder: give two")
    shard = parse_shard(cfg.shard)
    if shard.count > 1 and cfg.dataset is None:
        raise ValueError(f"shard={cfg.shard} is of dataset=, which is not given: choosing takes one process")
    return shard


def early_rule(cfg: DictConfig) -> Rule:
    """The rule, with whatever it draws like still unknown. Raises ValueError for settings it can't have."""
    rule = instantiate(cfg.curation, **({} if cfg.like is None else {"like": {}})) if is_random(cfg) else None
    if rule is None and cfg.like is not None:
        raise ValueError(f"like={cfg.like} is what curation=random draws as: another rule chooses by itself")
    return rule or instantiate(cfg.curation)


def is_random(cfg: DictConfig) -> bool:
    """Whether rows are drawn."""
    return cfg.curation._target_ == f"{Random.__module__}.{Random.__name__}"


def final_rule(cfg: DictConfig, rows: ScoredRows) -> Rule:
    """The rule for these rows. Raises FileNotFoundError or ValueError for a selection it can't draw like."""
    like = {} if cfg.like is None else {"like": kept_like(Path(cfg.like), rows)}
    return instantiate(cfg.curation, **like)


def listed(value: Any) -> Sequence[Any]:
    """One value, or a list of them."""
    return list(value) if isinstance(value, ListConfig) else [value]


def reward_files(place: Path) -> list[Path]:
    """The reward files of a place: itself, an annotation's, or those of its shards.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a shard is missing.
    """
    if place.is_file():
        return [place]
    if not (place / REWARDS).is_file() and place.is_dir() and not any(place.glob("shard-*")):
        raise FileNotFoundError(
            f"annotations={place} holds neither {REWARDS} nor shards of an annotation: give the output= of "
            "src.annotate, or a reward file"
        )
    if not place.is_dir():
        raise FileNotFoundError(f"annotations={place}: no such reward file, and no annotation's folder")
    if (place / REWARDS).is_file():
        return [place / REWARDS]
    return [shard / REWARDS for shard in find_shards(place, allow_missing=False)]


def fingerprints(places: Sequence[Path]) -> list[str]:
    """What the judge depends on, as the annotations tell it."""
    requests = [
        path for place in places for file in reward_files(place) if (path := file.parent / REQUEST).is_file()
    ]
    found = [json.loads(path.read_text(encoding="utf-8")).get("fingerprint") for path in requests]
    return sorted({str(each) for each in found if each is not None})


def request(cfg: DictConfig) -> dict[str, Any]:
    """Everything that the selection depends on."""
    found = {name: cfg[name] for name in ("judge_name", "like", "rows_file", "seed")}
    found |= {name: OmegaConf.to_container(cfg[name]) for name in ("curation", "weights")}
    found |= {"lower_bound": cfg.lower_bound} if cfg.lower_bound else {}
    found["annotations"] = [str(each) for each in listed(cfg.annotations)]
    return found | {"data": None if cfg.data is None else rows_request(cfg.data)}


@contextmanager
def claimed(folder: Path, asked: dict[str, Any]) -> Iterator[None]:
    """A context in which the output is ours alone. Raises as `claim_folder`."""
    claim_folder(folder, asked, "output")
    with one_at_a_time(folder):
        yield


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """A context that leaves no new folder behind what can't be used; the next try may be another command."""
    was_there = folder.exists()
    try:
        yield
    except (ValueError, FileNotFoundError):
        if not was_there:
            discard(folder)
        raise


def claim_folder(folder: Path, asked: dict[str, Any], setting: str) -> None:
    """Make a new or empty folder ours. Raises ValueError for one of another command."""
    different = unlike_request(files.claim(folder / REQUEST, asked), asked)
    if different:
        raise ValueError(
            f"{setting}={folder} holds the result of another command ({'; '.join(different[:3])}); give "
            f"another {setting}=, or the same command"
        )
    remove_leftovers(folder, below=True)


def summary(record: CurationRecord) -> str:
    """The counts in a few lines."""
    lost = ", ".join(f"{number:,} {reason}" for reason, number in record.lost.items())
    head = f"{record.kept:,} of {record.rows:,} rows kept"
    means = [
        f"  {name}: {change.mean_before:.2f} -> {change.mean_after:.2f}"
        for name, change in record.scores.items()
    ]
    return "\n".join([f"{head}; lost: {lost}" if lost else head, *means])


def copy_dataset(cfg: DictConfig, curated: Curated, record: CurationRecord, shard: Shard) -> None:
    """Write this shard of the dataset. Raises as `copy_kept`."""
    from src.curation.copying import CardFacts, copy_kept, licence_of  # needs `datasets`

    folder, source = Path(cfg.dataset), dataset_location(cfg.data)
    claim_folder(folder, {"selection": files.digest(Path(cfg.output) / SELECTION)}, "dataset")
    about = {
        "source": source,
        "judge": record.judge,
        "asked with": "; ".join(record.fingerprints) or "not told by its reward file",
        "rule": OmegaConf.to_yaml(cfg.curation).strip().replace("\n", ", "),
        "weights of following, preserving, quality": list(cfg.weights),
        "rows kept": f"{record.kept:,} of {record.rows:,}",
        "rows lost": ", ".join(f"{number:,} {reason}" for reason, number in record.lost.items()) or "none",
        "mean scores before": ", ".join(f"{n} {s.mean_before:.2f}" for n, s in record.scores.items()),
        "mean scores of these rows": ", ".join(f"{n} {s.mean_after:.2f}" for n, s in record.scores.items()),
    }
    dataset = instantiate(rows_alone(cfg.data))
    whole = copy_kept(curated, dataset, folder, shard, CardFacts(about, licence_of(Path(source))))
    print(folder if whole else f"{folder}: the files of shard {cfg.shard} are written, others are lacking")


if __name__ == "__main__":
    launch.entry_point(main, "curate")
