"""How the project and its sources are cited: BibTeX from CITATION.cff, where the facts stand once."""

import re
from pathlib import Path
from typing import Any

import yaml

from resnet_repro.analysis.typeset import escape

CITATION = Path(__file__).resolve().parents[2] / "CITATION.cff"
KINDS = {"conference-paper": "inproceedings", "article": "article", "report": "techreport"}
FIELDS = {"collection-title": "booktitle", "journal": "journal", "volume": "volume"}


def project() -> dict[str, Any]:
    """What CITATION.cff says: title, authors, version, date-released, references."""
    content: dict[str, Any] = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
    return content


def bibliography() -> str:
    """Every reference, and first the project itself, in BibTeX."""
    own = project()
    year, version = str(own["date-released"])[:4], own["version"]
    software = {"title": own["title"], "author": _authors(own["authors"]), "year": year, "note": f"Version {version}"}
    entries = [_entry("misc", "resnet_repro", software)]
    return "\n".join([*entries, *(_reference(reference) for reference in own["references"])])


def keys() -> dict[str, str]:
    """The BibTeX key of each source by what our texts call it: `He et al. 2015` is `he2015`."""
    return {r["abbreviation"]: _key(r) for r in project()["references"]}


def cited(words: str) -> str:
    r"""The words for LaTeX, with a \cite behind every source that they name."""
    code = escape(words)
    for name, key in keys().items():
        code = code.replace(name, rf"{name.replace('al. ', 'al.~')}~\cite{{{key}}}")
    return code


def _key(reference: dict[str, Any]) -> str:
    first, year = re.split(r"\W+", reference["abbreviation"])[0], reference["abbreviation"][-4:]
    return f"{first.lower()}{year}"


def _reference(reference: dict[str, Any]) -> str:
    kind = KINDS.get(reference["type"], "misc")
    fields = {"title": reference["title"], "author": _authors(reference["authors"]), "year": str(reference["year"])}
    fields |= {name: str(reference[k]) for k, name in FIELDS.items() if k in reference}
    if kind == "misc" and "booktitle" in fields:
        fields["howpublished"] = fields.pop("booktitle")
    if "start" in reference:
        fields["pages"] = f"{reference['start']}–{reference['end']}"
    if "institution" in reference:
        fields["institution"] = reference["institution"]["name"]
    if "identifiers" in reference:
        fields["note"] = reference["identifiers"][0]["value"]
    return _entry(kind, _key(reference), fields)


def _authors(authors: list[dict[str, str]]) -> str:
    names = [a.get("name") or f"{a['family-names']}, {a['given-names']}" for a in authors]
    return " and ".join(n if "," in n or n == "others" else f"{{{n}}}" for n in names)


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = [f"  {name} = {{{_value(name, value)}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"]) + "\n"


def _value(name: str, value: str) -> str:
    """For LaTeX; braces keep a title's capitals and an author that is a group."""
    if name == "author":
        return "".join(part if part in "{}" else escape(part) for part in re.split(r"([{}])", value))
    return f"{{{escape(value)}}}" if name == "title" else escape(value)
