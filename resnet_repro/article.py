"""A short article on results, the committed ones or your own: `python -m resnet_repro.article [ID] [--results DIR]`.

Writes <results>/paper/article.tex and references.bib, from the results alone, and with pdflatex the PDF file. With the
name of an experiment the article is on it alone, in <results>/paper/<id>.tex.
"""

import argparse
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from resnet_repro import project, report
from resnet_repro.analysis import article, citations
from resnet_repro.errors import UserError
from resnet_repro.places import command
from resnet_repro.records import write_atomically

INSTALL = "install TeX Live (Debian: apt-get install texlive-latex-recommended) and repeat the command"


def write(names: Sequence[str], results: Path) -> Path:
    """Writes the article on these experiments, or on all that have data when none is named; returns its path."""
    every = report.collected(results)
    for name in names or every:
        report.render(name, results)
    if not every or not set(names) <= set(every):
        raise UserError(
            f"no data in {results} for {', '.join(names) or 'any experiment'}: that is where what is committed "
            "lies, and what you measured lies in results/local (make paper RESULTS=results/local)"
        )
    folder = results / "paper"
    folder.mkdir(exist_ok=True)
    path = folder / f"{names[0] if names else article.ALL}.tex"
    write_atomically(folder / "references.bib", citations.bibliography().encode())
    write_atomically(path, article.render(names or every, results).encode())
    return path


def typeset(path: Path) -> Path:
    """Makes the PDF file beside the article, the same bytes each time for one version of TeX; returns its path.

    Raises UserError where TeX is not installed or refuses the article.
    """
    if missing := [program for program in ("pdflatex", "bibtex") if shutil.which(program) is None]:
        raise UserError(f"{path} is written, but there is no {' and no '.join(missing)}: {INSTALL}")
    target = path.with_suffix(".pdf")
    with TemporaryDirectory() as place:
        compile_in(Path(place), path)
        write_atomically(target, (Path(place) / target.name).read_bytes())
    return target


def compile_in(place: Path, path: Path) -> None:
    """Compiles the article in another folder, which then has its PDF file and its log."""
    source = rf"\def\sources{{{article.digest(path)}}}\input{{{path.name}}}"
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"-output-directory={place}"]
    latex += [f"-jobname={path.stem}", source]
    bibtex = ["bibtex", path.stem]
    shutil.copy(path.with_name("references.bib"), place)  # bibtex writes where it reads
    for program in (latex, bibtex, latex, latex):
        folder = place if program is bibtex else path.parent
        done = subprocess.run(program, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            raise UserError(f"{program[0]} refuses {path}: {_complaint(done.stdout)}")


def _complaint(output: bytes) -> str:
    lines = output.decode(errors="replace").splitlines()
    return next((line for line in lines if line.startswith("!")), lines[-1] if lines else "no output")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m resnet_repro.article", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("ids", nargs="*", metavar="ID", help="an experiment; all that have data when none is named")
    parser.add_argument("--results", type=Path, default=project.RESULTS, metavar="DIR", help="where the data lie")
    options = parser.parse_args(arguments)
    print(typeset(write(options.ids, options.results)))
    return 0


def cli() -> NoReturn:
    """The command, `resnet-article`."""
    command(main)


if __name__ == "__main__":
    cli()
