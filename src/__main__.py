"""The commands of this project, under one name. `pip install -e .` installs it; `python -m src` is the same.

    multi-reward                        # lists them
    multi-reward edit checkpoint=...    # is python -m src.edit checkpoint=...
    eval "$(multi-reward completion)"   # in ~/.bashrc: TAB completes commands, settings and choices

Relative paths start at the working directory, runs/ as well.
"""

import ast
import runpy
import sys
from pathlib import Path

from src.settings.near_names import did_you_mean

SRC = Path(__file__).parent

COMMAND = "multi-reward"
"""The installed command (pyproject.toml)."""

COMPLETION = "completion"

SCRIPT = """
_multi_reward() {{
    local IFS=$'\\n' word="${{COMP_WORDS[COMP_CWORD]}}" found
    if (( COMP_CWORD == 1 )); then
        COMPREPLY=($(compgen -S ' ' -W '{names}' -- "$word"))
    else
        found=$(COMP_LINE="${{COMP_LINE#* }}" {command} "${{COMP_WORDS[1]}}" -sc query=bash 2>/dev/null)
        COMPREPLY=($(compgen -W "${{found// /$IFS}}" -- "$word"))
        if (( ${{#COMPREPLY[@]}} == 0 )) && [[ $word == *=* ]]; then
            COMPREPLY=($(compgen -f -P "${{word%%=*}}=" -- "${{word#*=}}"))
        fi
    fi
}}
COMP_WORDBREAKS=${{COMP_WORDBREAKS//=}}  # a setting and its value are one word
complete -o nospace -o default -F _multi_reward {command}
"""
"""Completion for bash: the names of commands; everything else comes from Hydra, which is told one command."""


def commands() -> dict[str, str]:
    """Name and first docstring sentence of every entry point. Reads their source, as importing them takes
    seconds.
    """
    found = {}
    for file in sorted(SRC.glob("*.py")):
        source = file.read_text(encoding="utf-8")
        if file.stem != "__main__" and '\nif __name__ == "__main__":' in source:
            text = " ".join((ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0].split())
            found[file.stem] = text
    return found


def main() -> None:
    """Run a command, or list them; an unknown one is told with its nearest names, exit code 1."""
    name, arguments = (sys.argv[1] if len(sys.argv) > 1 else None), sys.argv[2:]
    names = commands()
    if name in names:
        _run(name, arguments)
    elif name == COMPLETION:
        print(SCRIPT.format(names="\n".join(names), command=COMMAND))
    elif name in (None, "-h", "--help"):
        _list(names)
    else:
        meant = did_you_mean(name, names) or ";"
        print(f"error: no command {name!r}{meant} {COMMAND} lists them", file=sys.stderr)
        sys.exit(1)


def _run(name: str, arguments: list[str]) -> None:
    """As `python -m src.NAME` does, so that processes which repeat the command find it, too."""
    sys.path.append("")  # for the user's own modules; python -m begins with the working directory
    sys.argv[1:] = arguments
    runpy.run_module(f"src.{name}", run_name="__main__", alter_sys=True)


def _list(names: dict[str, str]) -> None:
    is_installed = Path(sys.argv[0]).stem == COMMAND
    before = f"{COMMAND} " if is_installed else "python -m src."
    for name, text in names.items():
        print(f"{before}{name:<20} {text}")
    print(f"\nSettings and their values: {before}NAME --help")


if __name__ == "__main__":
    main()
