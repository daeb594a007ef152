"""What a result was computed with: commit, package versions, hardware."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("torch", "pytorch-lightning", "hydra-core", "diffusers", "transformers")


def commit() -> str:
    """The checked-out commit of this code, with "+changes" if its tree differs; "unknown" for a copy that is
    in no checkout of its own.
    """
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # a copy may lie in another repository
        head, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changed else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    return {name: version(name) for name in PACKAGES}


def hardware() -> str:
    """GPUs, or the processor and the number of threads that torch uses."""
    import torch  # heavy: commands without networks read commits, too

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
