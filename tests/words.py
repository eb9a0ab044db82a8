"""What fixed text may not say: a number or a direction of a result, which goes stale when a parameter changes.

A block of Markdown is a paragraph, an item of a list, or a table. It may hold numbers of these kinds: references (a
notebook, a section, a hint, an equation, a year), 0, 1 and 0.5 (ends of a scale, and guessing), 95 % and "1000
resamples" (of every interval), whole numbers with a unit of settings, and what stands in code or in a formula, if that
is no decimal number. Anything else is a result, unless the comment `<!-- setting -->` in the block says that it was
set, `<!-- example -->` that it was invented, or `<!-- measured -->` that a command, which stands in the block, measures
time, memory or coverage. A sentence that names an agent may hold no word that compares or judges, unless it is a
question, says where to look, or its block has the comment `<!-- by definition -->`.
"""

import re
from collections.abc import Iterator

# Words that say which way a result went.
DIRECTIONS = re.compile(
    r"\b(more|less|fewer|higher|lower|better|worse|best|worst|highest|lowest|most|least|larger|smaller|above|below|"
    r"rises?|falls?|gains|loses|helps?|hurts?|harms?|needs|beats?|outperforms?|reaches|depends|stays|"
    r"the same|no difference|as (good|well|much|little) as)\b",
    re.IGNORECASE,
)
AGENTS = re.compile(
    r"\b(iCaRL|GDumb|LwF|ER|MIR|EWC|A-GEM|sequential (fine-tuning|training)|joint training|separate models)\b|DER\+\+"
)
LOOKING = re.compile(
    r"\?|\b(whether|does|do|did|if|where|see|look|compare|how|would|could|may|might|can|what|which|should)\b",
    re.IGNORECASE,
)
# An absence of evidence that is read as evidence, and what no result can carry.
PHRASES = re.compile(
    r"no more than (another|the|luck|chance|a)\b|more than luck|upper bound|\bnot told from\b|\bcan not\b|"
    r"\bleaves? [01](?:\.\d+)? out\b|\balways leans\b|"
    r"\b(a|one|two|three) (third|quarter|fifth|tenth)s?\b|\btwice (as|the)\b|"
    r"\btimes (as|more|less)\b",
    re.IGNORECASE,
)
_NUMBERS = r"\d+(?:(?:,| and| to| or|–) ?\d+)*"
_KINDS = re.compile(
    "|".join(
        [
            r"^#.*|^\d+\. |\b(?:1[89]|20)\d\d\b|(?<=\| )[01]\d(?= \|)",  # headings, items, years, notebooks in tables
            r"\b0\d(?: (?:to|and) \d\d)?\b|\b(?:Python|YAML) \d\.\d+|ResNet-\d+|\b\d+-bit\b",  # notebooks, and names
            rf"\b(?:notebook|section|equation|algorithm|chapter|statement|step|part|seed|hint)s? \(?{_NUMBERS}\)?",
            r"\b95 ?%|\b1000 resamples|\b95 of 100 cases",
            r"(?<![\d.])0\.5(?!\d)|(?<![\d.,])[01](?!\d|[.,]\d)",
            r"\b\d[\d.]* (?:pixels?|bits?|grey levels|MB|GB|minutes?|seconds?)\b|\b\d+ [×x] \d+\b",
        ]
    ),
    re.IGNORECASE | re.MULTILINE,
)
_NUMBER = re.compile(r"(?<![\w.])(?:[−+-]?\d[\d,]*(?:\.\d+)?|\.\d+)(?:\ ?%)?(?!\w)")
_FLAG = re.compile(r"<!-- (setting|example|measured|by definition) -->")


def blocks(markdown: str) -> Iterator[str]:
    """The paragraphs, items and tables of a text, without code that is fenced off."""
    text = re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE)
    for part in re.split(r"\n\s*\n", text):
        for block in re.split(r"\n(?=\s*(?:[*-]|\d+\.) )", part):
            yield " ".join(block.split()) if not block.lstrip().startswith("|") else block


def results_in(markdown: str) -> list[str]:
    """The numbers, directions and phrases about results that a fixed text holds, with some words around each."""
    found = []
    for block in blocks(markdown):
        flags = set(_FLAG.findall(block))
        text = re.sub(r"<!--.*?-->|\]\([^)]*\)|<[^>]+>", " ", block)
        measured = "measured" in flags and ("`" in text or text.lstrip().startswith("|"))
        if not measured and not flags & {"setting", "example"}:
            found += [_around(text, match) for match in _NUMBER.finditer(_without_kinds(text))]
        found += [_around(text, match) for match in PHRASES.finditer(text)]
        if "by definition" not in flags and not text.startswith("|"):
            for sentence in re.split(r"(?<=[.?!])\s+(?=[A-Z*(])", text):
                if AGENTS.search(sentence) and (match := DIRECTIONS.search(sentence)) and not LOOKING.search(sentence):
                    found.append(_around(sentence, match))
    return found


def _without_kinds(text: str) -> str:
    """A text of the same length, in which the numbers of allowed kinds are blanks."""

    def blank(match: re.Match[str]) -> str:
        return " " * len(match[0])

    def code(match: re.Match[str]) -> str:  # a decimal number in it would be a result all the same
        return match[0] if re.search(r"\d\.\d", match[0]) and match[0].startswith("$") else blank(match)

    text = re.sub(r"`[^`]*`|\$\$.*?\$\$|\$[^$]+\$", code, text, flags=re.DOTALL)
    return _KINDS.sub(blank, text)


def _around(text: str, match: re.Match[str], reach: int = 30) -> str:
    return text[max(match.start() - reach, 0) : match.end() + reach].strip()
