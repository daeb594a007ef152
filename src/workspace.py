"""Lay out the project's runs on Weights & Biases: a saved workspace, and a report to share.

    python -m src.workspace entity=ME project=multi-reward-editing
    python -m src.workspace entity=ME evaluations=[synthetic_edit/oracle,real_edit/gpt4o] axes=[integration]
    python -m src.workspace entity=ME dry_run=true   # writes runs/workspace.json; no account, no network

Sections: training curves, previews, scores by row and the table of edits of each evaluation, and a comparison
over the axes of sweeps. Every call saves a new view and a new report; existing ones, perhaps edited by hand,
stay unchanged. Needs `pip install -e .[dashboards]`.
"""

import json
import netrc
import os
import re
from importlib.util import find_spec
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from omegaconf import DictConfig

from src import launch
from src.evaluation.generation_folder import folder_name
from src.files import write_atomically


def main(cfg: DictConfig) -> None:
    """Build the layout, then write or save it.

    Raises:
        ValueError: no entity, a wrong name, the extra isn't installed, no account, or the server can't be
            reached or refuses.
    """
    check_request(cfg)
    # the extra `dashboards`, and slow to import
    import wandb

    from src.tracking.layout import LayoutContents, build_report, build_workspace, layout_json

    shown = LayoutContents(
        tuple(cfg.evaluations), tuple(folder_name(row) for row in cfg.rows), tuple(cfg.axes)
    )
    workspace = build_workspace(cfg.entity, cfg.project, cfg.name, shown)
    report = build_report(cfg.entity, cfg.project, cfg.name, shown)
    if cfg.dry_run:
        write_atomically(Path(cfg.output), json.dumps(layout_json(workspace, report), indent=2) + "\n")
        print(cfg.output)
        return
    check_account(cfg.timeout)
    try:
        workspace.save()
        report.save()
    except (wandb.Error, OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"saving to {cfg.entity}/{cfg.project} failed ({launch.one_line(error)}); "
            "is it yours, and your key valid?"
        ) from error
    print(workspace.url)
    print(report.url)


def check_request(cfg: DictConfig) -> None:
    """Raise ValueError for mistakes that otherwise only the server would notice."""
    if find_spec("wandb_workspaces") is None:
        raise ValueError(
            "wandb-workspaces is not installed: pip install -c constraints.txt -e '.[dashboards]'"
        )
    if not cfg.entity:
        raise ValueError("entity=NAME is missing: your account or team on Weights & Biases")
    wrong = [name for name in cfg.evaluations if not re.fullmatch(r"[^/]+/[^/]+", name)]
    if wrong:
        raise ValueError(
            f"evaluations: {wrong[0]!r} is not of the form benchmark/judge, as in synthetic_edit/oracle"
        )
    if not cfg.rows:
        raise ValueError("rows=[] shows nothing: name rows of the reports, as in rows=[5/5/5]")


def check_account(timeout: float | int) -> None:
    """Raise ValueError, within the timeout, if there is no login or no server answers; the library would
    prompt for a key, or retry for minutes.
    """
    import wandb

    address = server_address()
    no_login = (
        "not logged in to Weights & Biases: set WANDB_API_KEY or run `wandb login`; "
        "dry_run=true needs no account"
    )
    if not has_key(address):
        raise ValueError(no_login)
    try:
        urlopen(Request(address, method="HEAD"), timeout=timeout).close()
    except HTTPError:
        pass  # the server answers
    except OSError as error:
        raise ValueError(
            f"{address} can't be reached ({getattr(error, 'reason', error)}); "
            "dry_run=true writes the layout to a file"
        ) from error
    if not wandb.login(prompt=False):
        raise ValueError(no_login)


def server_address() -> str:
    """Return the address of Weights & Biases, or of the server in WANDB_BASE_URL or wandb's settings."""
    import wandb

    return wandb.setup().settings.base_url


def has_key(address: str) -> bool:
    """Whether a key for this server is in the environment or in ~/.netrc, where `wandb login` writes it."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        kept = netrc.netrc(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return False
    return any(kept.authenticators(host) for host in (urlsplit(address).hostname or "", "api.wandb.ai"))


if __name__ == "__main__":
    launch.entry_point(main, "workspace")
