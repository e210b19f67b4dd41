"""Reading a task as numbers: linear models over word pairs, pieces of words and cues answer questions about it.

scikit-learn is imported where it is used, because it costs two seconds, and because it is not installed beside a
large model.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from agentic_fleet.workflows.cues import own_words

Features = dict[str, float]
READ = 2_000  # characters of a task; each thousand costs 10 ms of the event loop
_CLAUSE = re.compile(
    r"(?:[,;.:]\s+|\s+)(?:and then|then|after(?:wards?| which| that)?|finally|lastly|next|plus|and|danach|anschließend"
    r"|und|puis|ensuite|et|luego|después|y)\s+|[,;:.]\s+",
    re.IGNORECASE,
)


class Reader:
    """Reads a text once to answer several questions about it. `labels` has, for each question, one per text.

    `c` is the inverse regularisation, `weight` that of what `features` gives, beside the words. Trained when made.
    """

    def __init__(
        self,
        features: Callable[[str], Features],
        texts: Sequence[str],
        labels: Mapping[str, Sequence[Any]],
        *,
        c: float,
        weight: float,
    ) -> None:
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

        self._features = _features(features, weight)
        read = self._features.fit_transform([text[:READ] for text in texts])
        model = partial(LogisticRegression, C=c, max_iter=1000)
        with threadpool_limits(1):  # more threads only spin on problems of this size
            self._models = {question: model().fit(read, answers) for question, answers in labels.items()}

    def all_chances(self, texts: Sequence[str]) -> list[dict[str, dict[Any, float]]]:
        """For each text and question, the probability of each answer. Of a long text, its beginning decides."""
        read = self._features.transform([text[:READ] for text in texts])
        answers = {question: model.predict_proba(read).tolist() for question, model in self._models.items()}
        return [
            {
                question: dict(zip(model.classes_.tolist(), answers[question][at], strict=True))
                for question, model in self._models.items()
            }
            for at in range(len(texts))
        ]


def clauses(task: str) -> list[str]:
    """The parts of a task as its commas and joining words cut it, quoted text left out; at least one."""
    return [part for part in _CLAUSE.split(own_words(task[:READ])) if len(part.split()) > 1] or [task]


def _features(given: Callable[[str], Features], weight: float) -> Any:
    """Word pairs, pieces of words (for other languages and spellings), the opening words, and what is `given`."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion, make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    words = partial(TfidfVectorizer, sublinear_tf=True)
    parts = [
        ("words", words(ngram_range=(1, 2), strip_accents="unicode")),
        ("pieces", words(ngram_range=(2, 5), strip_accents="unicode", analyzer="char_wb")),
        ("opening", words(ngram_range=(1, 2), preprocessor=_opening)),
        ("given", make_pipeline(FunctionTransformer(lambda tasks: [given(task) for task in tasks]), DictVectorizer())),
    ]
    return FeatureUnion(parts, transformer_weights={"given": weight})


def _opening(task: str) -> str:
    return " ".join(task.lower().split()[:4])
