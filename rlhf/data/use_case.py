"""Which of the ten use cases of InstructGPT's Table 1 a prompt is: rules on how the request is worded.

Only for prompts that do not say it themselves. `held_out_figure` measures the rules on the wordings
in use_case_held_out.txt; the rules were not mended by what it found.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache, reduce
from operator import or_
from pathlib import Path
from typing import Any

_ASKED = 240  # characters of a text's beginning and of its end in which the request stands
_PASSAGE = 25  # words beside a question that make it one about a given text
_TASKS = (  # in this order: "summarize in 5 bullet points" is no list of ideas; words that open the gate, pattern
    (
        "summarization",
        "summar tl point takeaway idea condense recap gist boil nutshell",
        r"summar(?:y|i[sz]e|ies|i[sz]ing)|tl;? ?dr|(?:main|key) (?:points?|takeaways?|ideas?) (?:of|from|in)|"
        r"condense|recap|gist of|boil (?:this|it) down|in a nutshell",
    ),
    (
        "classification",
        "classif categor class sentiment label tag sort positive spam true fact genre topic emotion tone rate score scale "
        "tweet review mail message comment text post",
        r"classif(?:y|ication)|categori[sz]e|sentiment|(?:label|tag|sort) (?:the|each|this|these|every)|"
        r"positive,? (?:or|/) negative|(?:spam|true|fact) or (?:not|ham|false|opinion|fiction)|"
        r"(?:which|what) (?:category|class|genre|topic|label|emotion|tone)\b|(?:rate|score) (?:the|this|these|each|how)\b|"
        r"on a scale|is this (?:tweet|review|e-?mail|message|comment|text|post)\b",
    ),
    (
        "extraction",
        "extract pull parse keyword entit text passage article paragraph sentence mail document following note list table "
        "review transcript below",
        r"extract|pull out|parse|keywords?|named entit\w+|"
        r"(?:list|find|identify|name|give|get|pick out|highlight|return|what are) (?:me )?(?:all|every|each|the|any)\b"
        r"[^.?!\n]{0,50}\b(?:mentioned|in|from|found in|out of) (?:the|this|these|my)? ?(?:\w+ )?(?:text|passage|article|"
        r"paragraph|sentence|e-?mail|document|following|note|list|table|review|transcript|below)",
    ),
    (
        "rewrite",
        "writ word phras translat proof correct fix edit improve polish check make turn change convert put transform simplif "
        "shorten say expand",
        r"re-?writ\w+|re-?phras\w+|paraphras\w+|re-?word\w*|translat\w+|proof-?read|"
        r"(?:correct|fix|edit|improve|polish|check) (?:the |my |this |these |any )?(?:\w+ )?"
        r"(?:grammar|spelling|punctuation|wording|sentences?|essay|text|e-?mail|paragraph|mistakes|errors|typos|following)|"
        r"(?:make|turn|change|convert|put|transform) (?:this|it|that|these|the|my)\b[^.?!\n]{0,60}"
        r"(?:more|less|sound|into|to|shorter|longer|simpler|formal|polite|funnier|active|passive|tense)|"
        r"simplify|shorten|say (?:this|it) (?:more|in|another)|expand (?:this|on the following)",
    ),
    (
        "brainstorming",
        "idea brain suggest recommend come give tell list name write share offer think what ways tips reasons questions "
        "things titles",
        r"ideas?|brain-?storm\w*|suggest(?:ions?)?|recommend(?:ations?)?|come up with|"
        r"(?:give|tell|list|name|write|share|offer|think of)(?: me| us)?(?: down)? (?:a (?:few|list|couple)|some|several|"
        r"\d+|two|three|four|five|six|seven|eight|nine|ten|twenty)\b|"
        r"what (?:are|would be|could be) (?:some|a few|\d+|good|fun|creative)|"
        r"(?:\d+|five|ten|some) (?:ways|tips|names|reasons|questions|things|titles)\b|"
        r"what should i (?:\w+ )?(?:name|call|get|buy|cook|watch|read|do)\b|help me think of",
    ),
)
_TASK_PATTERNS = tuple(
    (case, 1 << at, re.compile(rf"\b(?:{pattern})")) for at, (case, _, pattern) in enumerate(_TASKS)
)
_TURNS = re.compile(
    r"^\s*(?:human|user|ai|bot|assistant|me|you|friend|customer|agent|student|teacher|\w{1,12})\s*:.*\n"
    r"(?:.*\n)*?\s*(?:ai|bot|assistant|you|friend|agent|human|\w{1,12})\s*:",
    re.M,
)
_GREETS = re.compile(
    r"(?:hi|hello|hey|good (?:morning|evening|afternoon)|thanks|thank you|yo|ok(?:ay)?|sup|bye)\b"
)
_CHAT = re.compile(
    r"\b(?:conversation|chat|dialogue) (?:with|between)|how are you|what'?s up|you are an? (?:\w+ )?"
    r"(?:assistant|chat ?bot|friend|therapist|character)|pretend (?:to be|you)|act as|role-?play|talk to me|"
    r"i(?:'m| am)(?: feeling| so| really| very)* (?:sad|lonely|bored|tired|happy|stressed|excited|nervous|upset)|"
    r"do you (?:like|love|feel|think|want|have a)\b|are you (?:a |an )?(?:real|human|robot|ai|ok)|"
    r"(?:what|who)(?:'s| is| are) (?:your|you)\b",
)
_CHATTING = "you conversation chat dialogue up pretend act role talk sad lonely bored tired happy stressed excited nervous"
_POLITE = (
    r"(?:please |kindly |can you |could you |would you |will you |help me (?:to )?|"
    r"i (?:want|need|would like) (?:you )?to |i'd like you to )*"
)
_MAKES_ONE = re.compile(_POLITE + r"(?:write|compose|draft|create|generate) (?:me )?an?\b")
_MAKES_ANOTHER = re.compile(r"\b(?:summary|list of)\b")
_ENDS = re.compile(r"(?<=[.!?])\s+|\n")
_MAKE = re.compile(
    rf"(?:^|[.:!?\n]\s*){_POLITE}(?:write|creat\w+|compose|draft|generat\w+|produce|design|build|develop|implement|code|invent|"
    r"continue|finish|complete|imagine|describe a|make (?:me |up )?an?|tell (?:me |us )?a (?:\w+ )?(?:story|joke|tale|riddle)|"
    r"sing|prepare|plan|outline|script)\b|"
    r"\b(?:i need|give me|i want) an? (?:\w+ ){0,3}(?:story|poem|essay|e-?mail|letter|song|script|post|code|function|recipe|speech|"
    r"slogan|tweet|haiku|limerick|paragraph|plan|report|review|description|cover letter|resume|toast|bio|caption)\b",
)
_ABOUT_A_TEXT = re.compile(
    r"\b(?:according to|based on|given|using|from|in) (?:only )?(?:the|this) (?:\w+ )?(?:text|passage|article|paragraph|context|"
    r"above|following|information|story|document|table|excerpt|facts|notes?)\b|^\s*(?:context|passage|text|article|paragraph)\s*:|"
    r"\bquestion\s*:|\banswer the (?:following )?questions? (?:about|using|from|below)",
    re.M,
)
_OF_A_TEXT = "text passage article paragraph context above following information story document table excerpt fact note question"
_MAKING = (
    "writ creat compos draft generat produc design build develop implement code invent continu finish complet imagin "
    "describ make tell sing prepar plan outlin script need give want"
)
_ASKING = "difference meaning definition capital"
_GATES = (*(gate for _, gate, _ in _TASKS), _OF_A_TEXT, _MAKING, _CHATTING, _ASKING)
_MAY_BE_ABOUT_A_TEXT, _MAY_MAKE, _MAY_CHAT, _MAY_ASK = (1 << len(_TASKS) + at for at in range(4))
_ASKS = re.compile(
    r"(?:so |and |but |ok )?(?:who|whom|whose|what|when|where|why|which|how|is|are|was|were|do|does|did|can|could|"
    r"should|would|will|has|have|had|am)\b|(?:please )?(?:tell (?:me|us) (?:about|what|why|how|who|when|where|more)|explain|"
    r"describe|define|teach me|what's|who's|how's|give me information|compare|discuss|i (?:want|would like) to know)\b"
)
_ASKS_LATER = re.compile(r"\b(?:difference between|meaning of|definition of|capital of)\b")


def classify(prompt: str | Sequence[dict[str, Any]]) -> str:
    """One of contract.USE_CASES for a text, or for messages {role, content} that end with a user's."""
    turns = [] if isinstance(prompt, str) else [turn for turn in prompt if turn["role"] != "system"]
    text = (prompt if isinstance(prompt, str) else turns[-1]["content"]).strip().lower()
    asked = text if len(text) <= 2 * _ASKED else f"{text[:_ASKED]}\n{text[-_ASKED:]}"
    if "\n" in asked and ":" in asked and _TURNS.search(asked):
        return "chat"
    if len(turns) < 2 and _MAKES_ONE.match(asked) and not _MAKES_ANOTHER.search(asked):
        return "generation"
    gates = reduce(or_, set(map(_opened, asked.split())), 0)
    for case, gate, pattern in _TASK_PATTERNS:
        if gates & gate and pattern.search(asked):
            return case
    if len(turns) > 1 or _GREETS.match(asked) or (gates & _MAY_CHAT and _CHAT.search(asked)):
        return "chat"
    is_question = bool(
        asked.endswith("?") or _ASKS.match(asked) or (gates & _MAY_ASK and _ASKS_LATER.search(asked))
    )
    about_a_text = bool(gates & _MAY_BE_ABOUT_A_TEXT and _ABOUT_A_TEXT.search(asked))
    if (is_question or about_a_text) and _has_passage(text, about_a_text):
        return "closed_qa"
    if gates & _MAY_MAKE and _MAKE.search(asked):
        return "generation"
    return "open_qa" if is_question else "other"


def of(record: dict[str, Any]) -> str:
    """The use case that a prompt record gives, or else the one that its messages are classified as."""
    return record.get("use_case") or classify(record["messages"])


@cache
def _gates() -> dict[str, list[tuple[str, int]]]:
    """By its first two letters, a part of a word and the bit of the gate that it opens."""
    found: dict[str, list[tuple[str, int]]] = {}
    for at, gate in enumerate(_GATES):
        for part in gate.split():
            found.setdefault(part[:2], []).append((part, 1 << at))
    return found


@lru_cache(maxsize=1 << 16)
def _opened(word: str) -> int:
    """Bits of the gates that a word opens: a pattern is tried where one of its gate's words stands in the text."""
    found, gates = 0, _gates()
    for at in range(len(word) - 1):
        for part, bit in gates.get(word[at : at + 2], ()):
            if word.startswith(part, at):
                found |= bit
    return found


def _has_passage(text: str, about_a_text: bool) -> bool:
    """Whether a question comes with a text: words enough, and more than the sentence that asks."""
    length = text.count(" ") + text.count("\n") + 1
    if length >= 12 and about_a_text:
        return True
    if length < _PASSAGE:
        return False
    asking = max((len(part.split()) for part in _ENDS.split(text) if part.endswith("?")), default=0)
    return len(text.split()) - asking >= _PASSAGE


def held_out_prompts() -> list[tuple[str, str]]:
    """(use case, prompt) of wordings that the rules were not written for."""
    lines = Path(__file__).with_name("use_case_held_out.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t", 1) for line in lines if "\t" in line]
    return [(case, text.replace("\\n", "\n")) for case, text in pairs]


def held_out_figure() -> dict[str, float]:
    """Share of the held-out prompts that are classified as their author meant them: "all", and by use case."""
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for case, text in held_out_prompts():
        for name in (case, "all"):
            total[name] += 1
            right[name] += classify(text) == case
    return {name: right[name] / count for name, count in total.items()}
