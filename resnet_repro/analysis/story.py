"""What all experiments say together: results/README.md as a story, and docs/questions.md as questions with answers.

The order of the story stands in story.yaml, the questions in questions.yaml.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_repro import documents
from resnet_repro.analysis.reasons import reason
from resnet_repro.analysis.tables import changes, estimate, region
from resnet_repro.analysis.typeset import markdown
from resnet_repro.analysis.verdicts import UNTESTED, VERDICTS, Verdict
from resnet_repro.experiment import Claim, Experiment

HERE = Path(__file__).parent
STORY, QUESTIONS = HERE / "story.yaml", HERE / "questions.yaml"
IMAGES = ("-digits", "-jpeg")
"""What the name of an experiment ends in, after what it asks: the images that it asks it of."""
REST = "Further"

Decided = Mapping[str, Sequence[Verdict]]
"""The verdicts of each experiment."""


def overview(verdicts: Decided, experiments: Mapping[str, Experiment]) -> str:
    """The page of all experiments, results/README.md: every verdict, in the order of the story."""
    every = [v for decided in verdicts.values() for v in decided]
    counts = {kind: sum(v.verdict == kind for v in every) for kind in VERDICTS}
    parts = [
        "# Verdicts",
        f"{len(every)} claims: {', '.join(f'{n} {kind}' for kind, n in counts.items() if n)}. "
        + registered(sum(v.standing == "registered" for v in every), len(every)),
        STABLE,
    ]
    for title, names in chapters(list(verdicts)):
        parts.append(f"## {title}")
        for name in names:
            e = experiments[name]
            parts.append(f"### [{name}]({name}/README.md): {e.question}")
            parts.append(_table(verdicts[name], e))
            parts += [f"**{v.verdict}**: *{v.says}* {why}" for v in verdicts[name] if (why := reason(name, v))]
    parts += ["To explore in a browser: [site/index.html](site/index.html)."]
    return "\n\n".join([*parts, "Made by `python -m resnet_repro.report`."]) + "\n"


STABLE = (
    "Stable: the verdict is the same without any one seed. The paper: what the authors cited found, in percent, mostly "
    "on CIFAR-10."
)


def chapters(names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The experiments by the part of the story in which they stand, in its order; empty parts are left out."""
    left = list(names)
    for title, asked in documents.read(STORY).items():
        mine = [name for one in asked for name in left if _asks(name) == one]
        left = [name for name in left if name not in mine]
        if mine:
            yield title, mine
    if left:
        yield REST, left


def _asks(name: str) -> str:
    """`degradation`, of degradation-digits."""
    for images in IMAGES:
        name = name.removesuffix(images)
    return name


def _table(verdicts: Sequence[Verdict], e: Experiment) -> str:
    claims = {claim.id: claim for claim in e.claims}
    rows = [_row(v, claims[v.claim]) for v in verdicts]
    head = ["claim", "estimate [95 % interval]", "n", "region", "verdict", "stable", "the paper"]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return markdown([(name, "") for name in head], rows)


def _row(v: Verdict, claim: Claim) -> list[str]:
    verdict = v.verdict if v.standing == "registered" else f"{v.verdict}, {v.standing}"
    stable = "yes" if not v.changes_without else "untested" if v.changes_without == UNTESTED else changes(v)
    return [v.says, estimate(v), str(v.n), region(v), verdict, stable, claim.paper]


def registered(count: int, of: int) -> str:
    """How many of so many claims are registered, in a sentence."""
    if count == of:
        return "All are registered: every run was told of the claims it serves when it began."
    return f"{count} of them are registered, the others exploratory: that they stood before their runs is not recorded."


# Questions -----------------------------------------------------------------------------------------------------

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "title": "Questions about residual networks, with the measurements behind each answer",
        "intro": "What is asked in lectures and interviews, answered by [the verdicts](../results/README.md). The "
        "sentences are written by hand, each for the verdicts below it; those are the measured ones, and this page is "
        "made of them by `make report`. On digits, where nothing else is said: 8 x 8 pixels, width 8, 400 steps.",
        "other": "[中文](questions.zh.md)",
        "none": "Not measured here yet.",
        "changed": "**The measurements no longer say what this answer was written for.**",
        "was": "when the answer was written",
    },
    "zh": {
        "title": "关于残差网络的问答，以及每个回答背后的测量",
        "intro": "讲课和面试中常见的问题，用[判定结果](../results/README.md)来回答。文字由人写成，各自依据其下方的"
        "判定；判定来自测量，本页由 `make report` 据此生成。若未另行说明，均指 digits 数据：8 x 8 像素，宽度 8，"
        "400 步。",
        "other": "[English](questions.md)",
        "none": "这里尚未测量。",
        "changed": "**测量结果与写下这一回答时已不相同。**",
        "was": "写下回答时",
        "supported": "支持",
        "refuted": "否定",
        "inconclusive": "未定",
        "incomplete": "未完成",
        "not answerable": "无法回答",
    },
}  # fmt: skip
"""What a page of questions says besides the questions, by language."""


@dataclass(frozen=True)
class Asked:
    """A question and its answer.

    backs: the claims that the answer rests on, each with its verdict (None where it is not measured) and the verdict
    for which the answer was written. changed: whether one of them is another by now.
    """

    question: str
    answer: str
    backs: Sequence[tuple[str, Verdict | None, str]]

    @property
    def changed(self) -> bool:
        return any(v is None or v.verdict != then for _, v, then in self.backs)


def asked(verdicts: Decided, language: str) -> list[Asked]:
    """The questions in a language of WORDS, with what is measured now."""
    every = [(one, one if language == "en" else one[language]) for one in documents.read(QUESTIONS)]
    return [
        Asked(
            told["question"],
            told["answer"].strip(),
            [(name, found(verdicts, name), then) for name, then in one["backs"].items()],
        )
        for one, told in every
    ]


def questions(verdicts: Decided, language: str) -> str:
    """The page of questions in a language of WORDS, each with its answer and the verdicts that the answer rests on."""
    words = WORDS[language]
    parts = [f"# {words['title']}", words["intro"], words["other"]]
    for one in asked(verdicts, language):
        parts += [f"## {one.question}", *([words["changed"]] if one.changed else []), one.answer]
        parts.append("\n".join(_backing(*back, words) for back in one.backs) or f"*{words['none']}*")
    return "\n\n".join(parts) + "\n"


def found(verdicts: Decided, name: str) -> Verdict | None:
    """The verdict on a claim by `<experiment>/<claim>`; None where it is not measured."""
    experiment, _, claim = name.partition("/")
    return next((v for v in verdicts.get(experiment, ()) if v.claim == claim), None)


def _backing(name: str, v: Verdict | None, then: str, words: Mapping[str, str]) -> str:
    """`- **supported**: A 56-layer plain net ... (+61.67 [57.87, 64.20], n = 8, [degradation-digits](...))`."""
    if v is None:
        return f"- {name}: {words['none']}"
    link = f"[{name.partition('/')[0]}](../results/{name.partition('/')[0]}/README.md)"
    was = f" ({words['was']}: {words.get(then, then)})" if v.verdict != then else ""
    return f"- **{words.get(v.verdict, v.verdict)}**{was}: {v.says} ({estimate(v)}, n = {v.n}, {link})"
