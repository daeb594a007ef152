"""Command-line keys that were renamed. An old one is refused with the new name, before anything else is
looked at.

error: target= was renamed: give output=
"""

import re
from collections.abc import Mapping, Sequence

EVERY = "*"
"""Stands for all commands."""

WANDB = ("artifacts", "project", "entity", "offline", "group", "job_type", "tags", "notes", "id")
"""Settings of Weights & Biases, which had the node `logger` for themselves."""

RENAMED: dict[str, Mapping[str, str]] = {
    EVERY: {
        "control=mended": "control=partly_clean",
        "judge.respondent": "judge.client",
        "judge.members.gpt4o.respondent": "judge.members.gpt4o.client",
        "judge.members.local_vlm.respondent": "judge.members.local_vlm.client",
        "selector.respondent": "selector.client",
        **{f"logger.{name}": f"logger.wandb.{name}" for name in WANDB},
    },
    "contact_sheet": {"target": "output"},
    "convert": {"target": "output", "picture_size": "image_size"},
    "export": {"target": "output"},
    "precompute": {"target": "output"},
    "write_dataset": {"target": "output"},
    "check_data": {"target": "output"},
    "inspect_rewards": {"target": "output", "look": "check_images"},
    "tabulate": {"target": "row"},
    "annotate": {
        "folder": "output",
        "sources": "merge.sources",
        "allow_missing": "merge.allow_missing",
        "format": "export.format",
        "target": "export.output",
        "judge_name": "export.judge",
    },
}
"""Old key -> new key, by command ("train" is `python -m src.train`). A key may be dotted, and then stands for
all keys below it, too; or a choice in a config group ("control=mended").
"""


GONE = {"examples@callbacks.previews.examples": "previews show rows of `data` by themselves"}
"""Key that is no more -> why none takes its place."""


def check_renamed(command: str, arguments: Sequence[str]) -> None:
    """Raise ValueError if an argument of a command has an old name, saying the new one, or none any more."""
    renamed = {**RENAMED[EVERY], **RENAMED.get(command, {})}
    for argument in arguments:
        name, _, value = argument.lstrip("+~").partition("=")
        if name in GONE:
            raise ValueError(f"{name}= is not needed any more, {GONE[name]}: leave it out")
        for old, new in renamed.items():
            old_name, _, choice = old.partition("=")
            is_named = name == old_name or (not choice and name.startswith(f"{old_name}."))
            if is_named and (not choice or choice in re.findall(r"[^\[\],\s'\"]+", value)):
                raise ValueError(
                    f"{old} was renamed: give {new}"
                    if choice
                    else f"{name}= was renamed: give {new}{name.removeprefix(old_name)}="
                )
