"""Intents and entities by rules: what can be seen in the words alone, with a confidence that says how little that is.

Every repetition in a pattern has a bound, so that no text costs more than its length.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_STEM = 5  # letters by which two words count as the same
_HINTS: Mapping[str, str] = {
    "greeting": "hello|hi|hey|good morning|good evening|hallo|guten tag|bonjour|hola",
    "goodbye": "bye|goodbye|see you|tschüss|au revoir|adiós",
    "thanks": "thanks|thank you|danke|merci|gracias",
    "question": r"\?\s*$|^(who|what|when|where|why|how|which)\b",
    "help": "help|how do i|support|assist",
    "complaint": "broken|terrible|awful|disappointed|unacceptable|does not work|doesn't work|angry|worst",
    "booking": "book|reserve|reservation|appointment|buchen",
    "book": "book|reserve|reservation",
    "cancel": "cancel|stop|no longer want|call off|stornieren|kündigen",
    "refund": "refund|money back|return it|reimburse",
    "buy": "buy|purchase|order|kaufen",
    "order": "order|buy|purchase",
    "weather": "weather|rain|sunny|forecast|temperature|wetter",
    "feedback": "feedback|suggestion|i think|i like|i love",
}
"""Other words for words that intents are often made of."""
_PRIOR = 0.2  # weight of knowing nothing, for each intent
_MOST = 0.9  # confidence that words alone can earn

_MONTHS = (
    r"(?:jan(?:uary|uar)?|feb(?:ruary|ruar)?|mar(?:ch)?|märz|apr(?:il)?|may|mai|june?|juni|july?|juli|aug(?:ust)?"
    r"|sep(?:t|tember)?|oct(?:ober)?|oktober|nov(?:ember)?|dec(?:ember)?|dezember)"
)
_DATE = (
    rf"\b\d{{4}}-\d\d-\d\d\b|\b\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}}\b|\b\d{{1,2}}\.? {_MONTHS}\b(?: \d{{4}})?"
    rf"|\b{_MONTHS} \d{{1,2}}(?:st|nd|rd|th)?\b(?:,? \d{{4}})?|\b(?:today|tomorrow|yesterday|heute|morgen|gestern)\b"
    r"|\b(?:(?:next|last|this|on) )?(?:mon|tues|wednes|thurs|fri|satur|sun)day\b"
)
_NAME = r"[A-ZÄÖÜÉ][\w'’-]{1,40}"
_NAMES = rf"{_NAME}(?: (?:of|de|van|von|der|la) {_NAME}| {_NAME}){{0,4}}"
_COMPANY = r"(?:Inc|Ltd|LLC|GmbH|AG|Corp|Corporation|Company|University|Bank|Institute|Airlines|Group|Foundation)"
_ANY_CASE = {
    "date": (_DATE, 0.85),
    "time": (r"\b\d{1,2}:\d\d(?: ?[ap]m)?\b|\b\d{1,2} ?(?:[ap]m|o'clock|uhr)\b|\bnoon\b|\bmidnight\b", 0.85),
    "email": (r"\b[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{0,63}\w", 0.95),
    "url": (r"\bhttps?://[^\s<>\"']{0,2000}[^\s<>\"'.,;:!?)]", 0.95),
    "phone": (r"(?<![\w.])\+?\d[\d ()/-]{6,20}\d\b", 0.7),
    "money": (
        r"[$€£] ?\d(?:[\d.,]{0,20}\d)?"
        r"|\b\d[\d.,]{0,20}(?: (?:million|thousand))? ?(?:euros?|dollars?|pounds?|eur|usd|gbp)\b",
        0.85,
    ),
    "percent": (r"\b\d[\d.,]{0,20} ?(?:%|percent\b|prozent\b)", 0.9),
    "number": (r"(?<![\w.])\d{1,30}(?:[.,]\d{1,30}){0,10}(?!\w)", 0.7),
}
_KINDS: Mapping[str, str] = {
    "amount": "money",
    "price": "money",
    "cost": "money",
    "currency": "money",
    "percentage": "percent",
    "quantity": "number",
    "cardinal": "number",
    "mail": "email",
    "link": "url",
    "website": "url",
    "telephone": "phone",
    "phonenumber": "phone",
    "day": "date",
    "datum": "date",
    "name": "person",
    "people": "person",
    "per": "person",
    "org": "organization",
    "organisation": "organization",
    "company": "organization",
    "loc": "location",
    "place": "location",
    "city": "location",
    "country": "location",
    "gpe": "location",
    "ort": "location",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    intent: str
    confidence: float  # 0..1
    reasoning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """`text` stands in the text just so."""

    text: str
    type: str
    confidence: float  # 0..1


def spot_intent(text: str, intents: Sequence[str]) -> Intent:
    """The intent whose words, or others for them, the text has most of. Of equals the first."""
    found = {word[:_STEM] for word in map(str.lower, _WORD.findall(text))}
    scores = [_score(intent, text, found) for intent in intents]
    best = max(range(len(intents)), key=scores.__getitem__)
    confidence = min(_MOST, (scores[best] + _PRIOR) / (sum(scores) + _PRIOR * len(intents)))
    if scores[best]:
        reasoning = f"By rules: words of the text fit {intents[best]!r}."
    else:
        reasoning = "By rules: no word of the text fits any of the intents, so this is a guess."
    return Intent(intent=intents[best], confidence=round(confidence, 2), reasoning=reasoning)


def spot_entities(text: str, types: Sequence[str], most: int) -> list[Entity]:
    """In the order of the text, of overlapping ones the longest; at most `most`."""
    found: list[tuple[int, int, Entity]] = []
    for type in types:
        kind = kind_of(type)
        if kind is None:
            continue
        for start, end, confidence in _SPOTTERS[kind](text):
            found.append((start, end, Entity(text=text[start:end], type=type, confidence=confidence)))
    kept: list[tuple[int, int, Entity]] = []
    for start, end, entity in sorted(found, key=lambda it: (it[0] - it[1], it[0])):
        if all(end <= other[0] or start >= other[1] for other in kept):
            kept.append((start, end, entity))
    return [entity for _, _, entity in sorted(kept, key=lambda it: it[0])][:most]


def kind_of(type: str) -> str | None:
    """Which of the kinds that rules know is meant; None: rules know nothing of it."""
    name = "".join(_WORD.findall(type.lower()))
    for each in (name, name.removesuffix("s")):
        if (kind := _KINDS.get(each, each)) in _SPOTTERS:
            return kind
    return None


def _score(intent: str, text: str, found: set[str]) -> float:
    """The share of the intent's words that the text has."""
    words = [word.lower() for word in _WORD.findall(_CAMEL.sub(" ", intent).replace("_", " "))]
    hits = [
        word[:_STEM] in found or bool(word in _HINTS and re.search(rf"(?<!\w)(?:{_HINTS[word]})", text.lower().strip()))
        for word in words
    ]
    return sum(hits) / len(hits) if hits else 0.0


def _by_pattern(pattern: str, confidence: float) -> Callable[[str], Iterator[tuple[int, int, float]]]:
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda text: ((match.start(), match.end(), confidence) for match in compiled.finditer(text))


_TITLED = re.compile(rf"\b(?:Mr|Mrs|Ms|Dr|Prof|Herr|Frau|Mme|Señor|Señora)\.? (?P<it>{_NAMES})")
_PAIR = re.compile(rf"(?P<it>{_NAME} {_NAME})(?! {_COMPANY})\b")
_PLACED = re.compile(rf"\b(?:in|near|from|to|at|through|visit(?:ed|ing|s)?|nach|aus|bei|à|en) (?P<it>{_NAMES})")
_FIRM = re.compile(rf"(?P<it>(?:{_NAME} ){{0,4}}{_COMPANY}\b|{_COMPANY} of {_NAMES})")
_WORKS = re.compile(rf"\b(?:works? (?:for|at)|joined|employed by|hired by) (?P<it>{_NAMES})")


def _people(text: str) -> Iterator[tuple[int, int, float]]:
    placed = [match.span("it") for pattern in (_PLACED, _FIRM, _WORKS) for match in pattern.finditer(text)]
    yield from ((*match.span("it"), 0.75) for match in _TITLED.finditer(text))
    for match in _PAIR.finditer(text):
        start, end = match.span("it")
        if not any(start < to and end > since for since, to in placed):
            yield start, end, 0.5


def _places(text: str) -> Iterator[tuple[int, int, float]]:
    firms = [match.span("it") for pattern in (_FIRM, _WORKS) for match in pattern.finditer(text)]
    for match in _PLACED.finditer(text):
        start, end = match.span("it")
        dated = re.match(_DATE, match["it"], re.IGNORECASE)
        if not dated and not any(start < to and end > since for since, to in firms):
            yield start, end, 0.5


def _firms(text: str) -> Iterator[tuple[int, int, float]]:
    yield from ((*match.span("it"), 0.7) for match in _FIRM.finditer(text))
    yield from ((*match.span("it"), 0.5) for match in _WORKS.finditer(text))


_SPOTTERS: Mapping[str, Callable[[str], Iterator[tuple[int, int, float]]]] = {
    **{kind: _by_pattern(*given) for kind, given in _ANY_CASE.items()},
    "person": _people,
    "location": _places,
    "organization": _firms,
}
