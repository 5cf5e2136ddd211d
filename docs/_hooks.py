"""Brings what lies outside docs/ into the site: results with their figures and tables, and other files pages link to.

Pages are written to be read in the repository, too: they link to `../results/...`, which in the site is `results/...`.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "LICENSE", "benchmarks/NOTES.md")
GLOBS = ("results/*.md", "results/*/*", "experiments/*.yaml", "conf/**/*.yaml", "benchmarks/results/*.csv")


def on_files(files: Files, config: Any) -> Files:
    """Adds the files outside docs/, under their own names."""
    found = [ROOT / name for name in OUTSIDE] + [path for glob in GLOBS for path in sorted(ROOT.glob(glob))]
    for path in found:
        name = path.relative_to(ROOT).as_posix()
        if path.is_file() and "/local/" not in name:
            files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links out of docs/ into links within the site."""
    return re.sub(r"\]\(\.\./", "](", markdown) if "/" not in page.file.src_uri else markdown
