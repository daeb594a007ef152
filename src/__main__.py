"""The commands of this project.

python -m src
"""

import ast
from pathlib import Path

SRC = Path(__file__).parent


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


if __name__ == "__main__":
    for name, text in commands().items():
        print(f"python -m src.{name:<20} {text}")
    print("\nSettings and their values: python -m src.NAME --help")
