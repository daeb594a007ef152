"""What a result was computed with: commit, package versions, hardware."""

import platform
import subprocess
from importlib.metadata import version

PACKAGES = ("torch", "pytorch-lightning", "hydra-core", "diffusers", "transformers")


def commit() -> str:
    """The checked-out commit, with "+changes" if the tree differs; "unknown" outside a git checkout."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changed else "")


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    return {name: version(name) for name in PACKAGES}


def hardware() -> str:
    """GPUs, or the processor and the number of threads that torch uses."""
    import torch  # heavy: commands without networks read commits, too

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
