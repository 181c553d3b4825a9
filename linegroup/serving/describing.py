"""OpenAPI as a plain page: no scripts, nothing from elsewhere, so it works offline and under a strict policy."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

Tree = Mapping[str, Any]


def describe(openapi: Tree) -> str:
    """HTML of all operations with their parameters and answers."""
    info = openapi["info"]
    operations = [
        _operation(path, method, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>linegroup API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"></head><body>'
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('description', ''))}</p>"
        '<p>For programs: <a href="openapi.json">openapi.json</a></p>' + "".join(operations) + "</body></html>"
    )


def _operation(path: str, method: str, operation: Tree) -> str:
    body = operation.get("requestBody", {}).get("content", {})
    fields = "".join(_fields(kind, content["schema"]) for kind, content in body.items())
    answers = "".join(
        f"<li><b>{escape(status)}</b> {escape(answer.get('description', ''))}"
        f" <i>{escape(', '.join(answer.get('content', {})))}</i></li>"
        for status, answer in operation.get("responses", {}).items()
    )
    return (
        f"<hr><h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
        f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>{fields}<ul>{answers}</ul>"
    )


def _fields(kind: str, schema: Tree) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_type(field))}</td>"
        f"<td>{escape(field.get('description', ''))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
    return f"<p>{escape(kind)}</p><table><tr><th>field</th><th>type</th><th></th></tr>{rows}</table>"


def _type(field: Tree) -> str:
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    low, high = field.get("minimum", field.get("exclusiveMinimum")), field.get("maximum")
    above = ">" if "exclusiveMinimum" in field else "≥"
    bounds = [f"{sign} {bound:g}" for sign, bound in ((above, low), ("≤", high)) if bound is not None]
    return " ".join([str(field.get("type", "")), ", ".join(bounds)]).strip()
