"""What a model endpoint has been like lately, for /health: it is never asked just to see whether it answers."""

from agentic_fleet.about import Check
from agentic_fleet.errors import ModelBusy, ModelFailed
from agentic_fleet.settings import Settings


class Outlook:
    """Shared by the endpoints of all models at one address. What came of the last request counts.

    A failure is a warning only: the next run may find the endpoint well, and only a run finds out.
    """

    def __init__(self, said: str, settings: Settings) -> None:
        """`said` names the model and its host."""
        self._said = said
        self._knobs = "OPENAI_BASE_URL, OPENAI_API_KEY" if settings.model else "AZURE_OPENAI_ENDPOINT and its key"
        self._name = "FLEET_MODEL" if settings.model else "AZURE_OPENAI_DEPLOYMENT"
        self._failure: ModelFailed | None = None
        self._asked = False

    def tell(self, failure: ModelFailed | None) -> None:
        """None: it has begun to answer."""
        self._asked = True
        self._failure = failure

    def check(self) -> Check:
        if self._failure:
            wrong = "" if isinstance(self._failure, ModelBusy) else f" Check {self._knobs} and {self._name}."
            what = f"did not answer the last request: {self._failure}{wrong}"
            return Check(status="warning", detail=f"{self._said} {what}")
        if self._asked:
            what = "answered the last request"
        else:
            what = "is asked when a run needs it"
        return Check(status="ok", detail=f"{self._said} {what}")
