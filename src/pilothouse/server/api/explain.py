"""Why an object is as it is."""

from typing import Annotated

import msgspec

from pilothouse.errors import NotFoundError
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import Explanation
from pilothouse.server.api.hiding import hidden_container
from pilothouse.server.api.route import Call, Query, Route
from pilothouse.server.aside import reckon
from pilothouse.server.explain.door import explain


class ExplainQuery(Query, frozen=True, kw_only=True):
    """What is to be explained."""

    object: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            max_length=300,
            description='"APP", "APP/SERVICE", "APP/SERVICE.SLOT", the id of a task, or "KIND/ID"',
        ),
    ]


async def read_explanation(call: Call[ExplainQuery, None]) -> Explanation:
    """Return the sentence, and the chain of causes behind it."""
    now = call.context.clock.now()
    found = await reckon(call.context.store, lambda tx: explain(tx, call.query.object, now))
    if found.effective is None:
        return found
    return msgspec.structs.replace(found, effective=hidden_container(found.effective))


ROUTES = (
    Route(
        method="GET",
        path="/v1/explain",
        name="objects.explain",
        summary="Why an object is as it is: one sentence, then the chain of causes",
        permission=Permission.APP_READ,
        handler=read_explanation,
        query=ExplainQuery,
        answer=Explanation,
        errors=(NotFoundError,),
    ),
)
