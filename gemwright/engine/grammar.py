"""What an answer may look like: a JSON schema, a regular expression, a grammar, or one of some texts. No torch.

A `Grammar` is the wish, checked for its size and ready to be compared and kept; `constrain.Constraint` makes one answer
follow it. JSON is written compactly, without spaces between its parts: a model that may put spaces there can go on
doing so until its last token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

from gemwright.engine import bounds, multiples
from gemwright.errors import UserError

Kind = Literal["schema", "regex", "lark", "choices"]

CHARACTERS = 200_000
"""The longest text of a grammar."""
NODES = 4_000
"""The most values, lists and objects in a JSON schema."""
DEPTH = 64
"""How deep a JSON schema may be nested."""
VISITS = 1_000_000
"""Steps of the search for an answer that ends: about a second, which a schema within the other limits hardly needs."""


@dataclass(frozen=True)
class Grammar:
    """Made by `schema`, `regex`, `lark` or `choices`. Equal grammars are equal and hash alike.

    `text` is the schema (its bounds as they can be followed) or the choices as JSON, the expression, or the grammar.
    `strict`: a keyword of the schema that cannot be enforced is refused; otherwise it is left out. `json`: texts of it
    are JSON, and their numbers end (`digits`).
    """

    kind: Kind
    text: str
    strict: bool = True
    json: bool = False

    @classmethod
    def schema(cls, schema: Mapping[str, Any], strict: bool = True) -> Grammar:
        """JSON that follows a JSON schema (draft 2020-12), compact, properties in the schema's order.

        References within the schema may be recursive, as long as some answer ends. Bounds beyond what 64 bits or a
        double hold move inward (`bounds`).

        Raises:
            UserError: not an object of JSON values, larger than `NODES`, `DEPTH` or `CHARACTERS`, or a schema that no
                finite answer follows, or none whose numbers have 64 bits.
        """
        if not isinstance(schema, Mapping):
            raise UserError(f"the JSON schema is {schema!r:.60}", hint='give an object, such as {"type": "object"}')
        _measure(schema)
        try:
            plain = json.loads(_short(json.dumps(schema, allow_nan=False), "JSON schema"))
        except (TypeError, ValueError) as error:
            raise UserError(f"the JSON schema is no JSON: {error}", hint="give JSON values only") from error
        multiples.check(plain)
        plain = bounds.followed(plain)
        if not _Ends(plain).whole():
            raise UserError(
                "every answer that follows the JSON schema is endless", hint="give the recursion a way to end"
            )
        return cls("schema", json.dumps(plain), strict, json=True)

    @classmethod
    def json_object(cls) -> Grammar:
        """Any JSON object."""
        return cls.schema({"type": "object"})

    @classmethod
    def regex(cls, expression: str) -> Grammar:
        """A text that the whole regular expression matches, in the syntax of Rust's `regex` (no look-around).

        Raises:
            UserError: longer than `CHARACTERS`. What the expression says is checked by `Constraint`.
        """
        return cls("regex", _short(expression, "regular expression"))

    @classmethod
    def lark(cls, grammar: str, *, json: bool = False) -> Grammar:
        """A text that a context-free grammar yields, in llguidance's dialect of Lark, from its rule `start`.

        `json`: all its texts are JSON values, one after another.

        Raises:
            UserError: longer than `CHARACTERS`. What the grammar says is checked by `Constraint`.
        """
        return cls("lark", _short(grammar, "grammar"), json=json)

    @classmethod
    def choices(cls, choices: Sequence[str]) -> Grammar:
        """One of these texts, as it stands.

        Raises:
            UserError: no choice, an empty one, or more than `CHARACTERS` in all.
        """
        if isinstance(choices, str) or not choices or not all(isinstance(one, str) and one for one in choices):
            raise UserError(f"the choices are {choices!r:.60}", hint="give a list of texts, none of them empty")
        return cls("choices", _short(json.dumps(list(dict.fromkeys(choices))), "list of choices"))


def _short(text: str, name: str) -> str:
    if not isinstance(text, str):
        raise UserError(f"the {name} is {text!r:.60}", hint="give it as text")
    if len(text) > CHARACTERS:
        raise UserError(f"the {name} has {len(text)} characters, at most {CHARACTERS} are allowed", hint="shorten it")
    return text


def _measure(schema: Any) -> None:
    """Counts and depth, without recursion of our own: what is too deep must not be walked to its end."""
    nodes = 0
    pending: list[tuple[Any, int]] = [(schema, 1)]
    while pending:
        node, depth = pending.pop()
        nodes += 1
        if depth > DEPTH:
            raise UserError(f"the JSON schema is nested deeper than {DEPTH} levels", hint="flatten it, or use $ref")
        if nodes > NODES:
            raise UserError(f"the JSON schema has more than {NODES} values", hint="simplify it")
        children = node.values() if isinstance(node, Mapping) else node if isinstance(node, list | tuple) else ()
        pending += [(child, depth + 1) for child in children]


class _Ends:
    """Whether some finite answer follows a schema.

    A reference is first taken to lead nowhere; what ends without it is found, then what ends with the help of that,
    until nothing new is found. Keywords that say nothing of this count as harmless: only what is surely endless is.
    """

    def __init__(self, root: Any) -> None:
        self._root = root
        self._visits = 0
        self._ending: set[str] = set()
        self._references = sorted(_references(root))
        self._left = len(self._references)

    def whole(self) -> bool:
        """The answer for the schema as a whole."""
        waiting = self._references
        while not self._node(self._root):
            # Back and forth: a chain of references then falls at once, whichever way it runs.
            waiting = [name for name in reversed(waiting) if not self._found(name)]
            if len(waiting) == self._left:
                return False
            self._left = len(waiting)
        return True

    def _found(self, name: str) -> bool:
        if self._target(name):
            self._ending.add(name)
        return name in self._ending

    def _target(self, pointer: str) -> bool:
        node = self._root
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and key in node:
                node = node[key]
            elif isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
            else:
                return True  # a wrong reference is reported by the compiler
        return self._node(node)

    def _node(self, node: Any) -> bool:
        self._visits += 1
        if self._visits > VISITS:
            raise UserError("the JSON schema refers to itself in too many ways", hint="use fewer $ref")
        if not isinstance(node, dict):
            return node is not False
        if _is_local(name := node.get("$ref")) and name not in self._ending:
            return False
        if not all(self._node(child) for child in _list(node.get("allOf"))):
            return False
        for key in ("anyOf", "oneOf"):
            if (options := _list(node.get(key))) and not any(self._node(child) for child in options):
                return False
        kinds = node.get("type")
        kinds = [kinds] if isinstance(kinds, str) else _list(kinds)
        if not kinds or "const" in node or "enum" in node or set(kinds) - {"object", "array"}:
            return True
        return ("object" in kinds and self._object(node)) or ("array" in kinds and self._array(node))

    def _object(self, node: dict[str, Any]) -> bool:
        """Each property that must be there has to end."""
        given = node.get("properties")
        given = given if isinstance(given, dict) else {}
        other = True if node.get("patternProperties") else node.get("additionalProperties", True)
        needed = [name for name in _list(node.get("required")) if isinstance(name, str)]
        return all(self._node(given.get(name, other)) for name in needed)

    def _array(self, node: dict[str, Any]) -> bool:
        """Each item that must be there has to end."""
        least = node.get("minItems", 0)
        first = _list(node.get("prefixItems"))
        needed = first[:least] if isinstance(least, int) and least > 0 else []
        if isinstance(least, int) and least > len(first):
            needed = [*needed, node.get("items", True)]
        return all(self._node(child) for child in needed)


def _references(root: Any) -> set[str]:
    """The targets within the schema itself that its `$ref` name."""
    return {value for key, value in multiples.keywords(root) if key == "$ref" and _is_local(value)}


def _is_local(name: Any) -> TypeGuard[str]:
    return isinstance(name, str) and (name == "#" or name.startswith("#/"))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
