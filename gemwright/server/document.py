"""The bodies of the routes in the application's OpenAPI document. The handlers read bodies themselves, to cut large
ones early and to refuse in OpenAI's shape, so the framework knows nothing of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gemwright.server.schema import ChatBody, CompletionBody, EmbeddingsBody, ResponsesBody

if TYPE_CHECKING:
    from fastapi import FastAPI

_PLACE = "#/components/schemas/{model}"


def body_of(kind: type[BaseModel]) -> dict[str, Any]:
    """What a route says of its body."""
    schema = {"$ref": _PLACE.format(model=kind.__name__)}
    refusals = {code: {"description": text} for code, text in _REFUSALS.items()}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"requestBody": body, "responses": refusals}


_REFUSALS = {
    "400": "The body is not what the route takes.",
    "401": "The API key is missing or unknown.",
    "404": "The model is not served here.",
    "408": "The request took too long.",
    "413": "The body is too large.",
    "429": "The key's limit is reached; Retry-After says when to come again.",
    "503": "The queue is full, or the server is shutting down.",
}


def add_bodies(app: FastAPI) -> None:
    """Puts the schemas that the routes refer to into the application's document."""
    plain = app.openapi

    def whole() -> dict[str, Any]:
        document = plain()
        kinds = (ChatBody, CompletionBody, ResponsesBody, EmbeddingsBody)
        _, found = models_json_schema([(kind, "validation") for kind in kinds], ref_template=_PLACE)
        document.setdefault("components", {}).setdefault("schemas", {}).update(found["$defs"])
        return document

    app.openapi = whole
