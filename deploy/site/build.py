"""Build the documentation as a site: `make docs` into dist/site. Strict, without a network, without a database.

The pages are those of `docs/` as they are, and the reference that `absurd_project.reference` makes from the code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Build into the given directory; return the exit code."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else CHECKOUT / "dist" / "site").absolute()
    if target.exists() and not (target / "source").is_dir():
        print(f"build.py: {target} is not a site; give another directory", file=sys.stderr)
        return 2
    shutil.rmtree(target, ignore_errors=True)
    source = target / "source"
    shutil.copytree(CHECKOUT / "docs", source)
    write_reference(source / "reference")
    write_decisions(source / "decisions")
    strict = ["--fail-on-warning", "--keep-going", "--nitpicky", "--quiet"]
    sphinx = [sys.executable, "-m", "sphinx", *strict, "-c", str(Path(__file__).parent), "-d", str(target / "doctrees")]
    done = subprocess.run([*sphinx, str(source), str(target / "html")], check=False)
    if done.returncode == 0:
        print(target / "html" / "index.html")
    return done.returncode


def write_reference(directory: Path) -> None:
    """Write the pages that are made from the code."""
    sys.path.insert(0, str(CHECKOUT))
    os.environ["DJANGO_SETTINGS_MODULE"] = "absurd_project.settings"
    for name in [name for name in os.environ if name.startswith("ABSURD_")]:
        del os.environ[name]
    import django

    django.setup()
    from absurd_project.reference.pages import PAGES, page

    directory.mkdir()
    for name in PAGES:
        (directory / f"{name}.md").write_text(page(name))


def write_decisions(directory: Path) -> None:
    """Write the list of decisions, as the console shows it."""
    from tasks_app.admin import documents

    pages = "".join(f"{path.name}\n" for path in sorted(directory.glob("*.md")))
    (directory / "index.md").write_text(f"{documents.decisions()}\n```{{toctree}}\n:hidden:\n\n{pages}```\n")


if __name__ == "__main__":
    sys.exit(main())
