"""What the OpenAPI document says of the AuthZEN door; the standard's own metadata names the same paths."""

from __future__ import annotations

from typing import Any, Final

from partywall.gateway.routes.document import EVERYONE, PUBLIC, Described, Doc
from partywall.wire import authzen, replies

_PLAIN: Final = {"text/plain": str}
_EXAMPLE: Final = {
    "subject": {"type": "agent", "id": "scout"},
    "action": {"name": "memory"},
    "resource": {"type": "memory", "id": "scout"},
}


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    given = {"tag": "decisions", "who": EVERYONE, "faults": _PLAIN} | more
    return Doc(summary=summary, reply=reply, **given)


AUTHZEN: Final = (
    Described(
        "POST",
        authzen.EVALUATION_PATH,
        _doc(
            "Ask whether a subject may do something (AuthZEN 1.0)",
            replies.Decision,
            request=replies.DecisionQuestion,
            example=_EXAMPLE,
        ),
    ),
    Described(
        "POST",
        authzen.EVALUATIONS_PATH,
        _doc(
            "Ask several questions at once (AuthZEN 1.0)",
            replies.Decisions,
            request=replies.DecisionQuestions,
            example={"evaluations": [_EXAMPLE]},
        ),
    ),
    *(
        Described(
            "POST",
            path,
            _doc(
                f"Find each {wanted} for which the answer is yes (AuthZEN 1.0)",
                replies.FoundEntities,
                request=replies.EntitySearch,
            ),
        )
        for path, wanted in authzen.SEARCH_PATHS.items()
    ),
    Described(
        "GET",
        authzen.CONFIGURATION_PATH,
        _doc("Read where decisions are asked for (AuthZEN 1.0)", dict[str, Any], who=PUBLIC),
    ),
)
