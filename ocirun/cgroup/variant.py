"""GVariant's text format, in which annotations give the values of systemd's properties (glib, gvariant-text-format).

What runc takes is taken: booleans, numbers, strings, byte strings, arrays, dictionaries, variants in "<>", the names
of types ("uint64 5") and "@" with a signature ("@as []"); tuples as well. A number without a type is an int32, or a
double where it has a fraction or an exponent.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Node = tuple[str, Any, str]  # kind, content, the signature that the text gives it or ""

_NAMES = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
    "objectpath": "o",
    "signature": "g",
}
# For each integer type its bits and whether it has a sign.
INTEGERS = {
    "y": (8, False),
    "n": (16, True),
    "q": (16, False),
    "i": (32, True),
    "u": (32, False),
    "x": (64, True),
    "t": (64, False),
}
_BASIC = frozenset("bdsog") | frozenset(INTEGERS)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\n": ""}
_NUMBER = frozenset("0123456789abcdefABCDEFxXinINF+-.")
_DEEPEST = 32  # D-Bus specification, "Valid Signatures"


def parse(text: str) -> tuple[str, Any]:
    """The signature and the value of a variant, as jeepney takes them: strings, numbers, lists, dictionaries, tuples
    for structs, (signature, value) for variants, bytes for arrays of bytes.

    :raises ValueError: it is none, with what is wrong
    """
    reader = _Reader(text)
    node = reader.node(0)
    reader.blank()
    if reader.at < len(text):
        raise ValueError(f"unexpected {text[reader.at :][:20]!r}")
    return _typed(node)


class _Reader:
    """The text, and how far it has been read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def blank(self) -> None:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1

    def next(self) -> str:
        """The next character that is not blank, "" at the end; not passed."""
        self.blank()
        return self.text[self.at : self.at + 1]

    def expect(self, character: str) -> None:
        found = self.next()
        if found != character:
            rest = self.text[self.at :][:20]
            raise ValueError(f"expected {character!r}, found {rest!r}" if rest else "ends too soon")
        self.at += 1

    def node(self, depth: int) -> Node:
        if depth > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} levels")
        first = self.next()
        if first == "@":
            self.at += 1
            return self._annotated(self._signature(), depth)
        if first in ("'", '"'):
            return "string", self._string(), ""
        if first == "[":
            return "array", self._several("]", depth), ""
        if first == "(":
            return "tuple", self._several(")", depth), ""
        if first == "{":
            return "dictionary", self._entries(depth), ""
        if first == "<":
            self.at += 1
            inner = self.node(depth + 1)
            self.expect(">")
            return "variant", inner, ""
        if first == "b" and self.text[self.at + 1 : self.at + 2] in ("'", '"'):
            self.at += 1
            return "bytes", self._string().encode("latin-1", "replace") + b"\0", ""
        if first and (first in "+-." or first.isdigit()):
            return "number", self._while(_NUMBER), ""
        word = self._while(frozenset("abcdefghijklmnopqrstuvwxyz0123456789"))
        if word in ("true", "false"):
            return "boolean", word == "true", ""
        if word in ("inf", "nan"):
            return "number", word, ""
        if word in _NAMES:
            return self._annotated(_NAMES[word], depth)
        raise ValueError(f"unexpected {word or self.text[self.at :][:20]!r}" if first else "ends too soon")

    def _annotated(self, signature: str, depth: int) -> Node:
        kind, content, own = self.node(depth + 1)
        if own:
            raise ValueError("unexpected type annotation")
        return kind, content, signature

    def _while(self, characters: frozenset[str]) -> str:
        start = self.at
        while self.text[self.at : self.at + 1] in characters and self.at < len(self.text):
            self.at += 1
        return self.text[start : self.at]

    def _signature(self) -> str:
        end = single(self.text, self.at)
        found, self.at = self.text[self.at : end], end
        return found

    def _string(self) -> str:
        quote = self.text[self.at]
        self.at += 1
        parts = []
        while (character := self.text[self.at : self.at + 1]) != quote:
            self.at += 1
            if not character:
                raise ValueError("unterminated string")
            if character == "\\":
                character = self._escaped()
            parts.append(character)
        self.at += 1
        return "".join(parts)

    def _escaped(self) -> str:
        character = self.text[self.at : self.at + 1]
        self.at += 1
        if character in ("u", "U", "x"):
            length = {"x": 2, "u": 4, "U": 8}[character]
            digits = self.text[self.at : self.at + length]
            self.at += length
            if len(digits) < length:
                raise ValueError("short escape")
            return chr(int(digits, 16))
        return _ESCAPES.get(character, character)

    def _several(self, end: str, depth: int) -> list[Node]:
        self.at += 1
        found: list[Node] = []
        while self.next() != end:
            if found:
                self.expect(",")
                if end == ")" and self.next() == end:  # a tuple of one, "(1,)"
                    break
            found.append(self.node(depth + 1))
        self.at += 1
        return found

    def _entries(self, depth: int) -> list[tuple[Node, Node]]:
        self.at += 1
        found: list[tuple[Node, Node]] = []
        while self.next() != "}":
            if found:
                self.expect(",")
            key = self.node(depth + 1)
            self.expect(":")
            found.append((key, self.node(depth + 1)))
        self.at += 1
        return found


def single(text: str, at: int) -> int:
    """Where the one complete type that begins there ends.

    :raises ValueError: there is none
    """
    first = text[at : at + 1]
    if first and first in _BASIC | {"v"}:
        return at + 1
    if first == "a":
        if text[at + 1 : at + 2] != "{":
            return single(text, at + 1)
        if text[at + 2 : at + 3] in _BASIC and at + 2 < len(text):
            end = single(text, at + 3)
            if text[end : end + 1] == "}":
                return end + 1
    elif first == "(":
        end = at + 1
        while text[end : end + 1] != ")":
            end = single(text, end)
        if end > at + 1:
            return end + 1
    raise ValueError(f"invalid signature {text[at : at + 20]!r}")


def _typed(node: Node) -> tuple[str, Any]:
    signature = _infer(node)
    return signature, _value(node, signature)


def _infer(node: Node) -> str:
    kind, content, signature = node
    if signature:
        return signature
    if kind == "number":
        text = content.lower()
        hexadecimal = text.lstrip("+-").startswith("0x")
        return "d" if not hexadecimal and not {".", "e", "n"}.isdisjoint(text) else "i"  # n: "inf", "nan"
    if kind == "array":
        return "a" + _of_all(content)
    if kind == "dictionary":
        return f"a{{{_of_all([key for key, _ in content])}{_of_all([value for _, value in content])}}}"
    if kind == "tuple":
        return f"({''.join(map(_infer, content))})"
    return {"string": "s", "boolean": "b", "bytes": "ay", "variant": "v"}[kind]


def _of_all(nodes: list[Node]) -> str:
    """The type of an array's elements: what one of them says, else the first's."""
    for node in nodes:
        if node[2]:
            return node[2]
    if not nodes:
        raise ValueError("cannot infer the type of an empty array: write it, as in '@as []'")
    return _infer(nodes[0])


def _value(node: Node, signature: str) -> Any:
    kind, content, own = node
    if own and own != signature:
        raise ValueError(f"cannot have {own!r} among {signature!r}")
    if kind == "number" and signature == "d":
        return float(content)
    if kind == "number" and signature in INTEGERS:
        return _integer(content, signature)
    if kind == "boolean" and signature == "b":
        return content
    if kind == "string" and signature in ("s", "o", "g"):
        content.encode()  # half a surrogate pair is a ValueError, too
        if "\0" in content:
            raise ValueError("a string with a NUL")
        return content
    if kind == "bytes" and signature == "ay":
        return content
    if kind == "variant" and signature == "v":
        return _typed(content)
    if kind == "array" and signature[0] == "a" and signature[1] != "{":
        values = [_value(one, signature[1:]) for one in content]
        return bytes(values) if signature == "ay" else values
    if kind == "dictionary" and signature[:2] == "a{":
        return {_value(key, signature[2]): _value(value, signature[3:-1]) for key, value in content}
    if kind == "tuple" and signature[0] == "(":
        parts = []
        at = 1
        for one in content:
            if at >= len(signature) - 1:
                break
            end = single(signature, at)
            parts.append(_value(one, signature[at:end]))
            at = end
        if len(parts) == len(content) and at == len(signature) - 1:
            return tuple(parts)
    raise ValueError(f"cannot be of type {signature!r}: {content if kind == 'number' else kind}")


def _integer(text: str, signature: str) -> int:
    digits = text.lstrip("+-").lower()
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") and len(digits) > 1 else 10
    try:
        number = int(text, base)
    except ValueError:
        raise ValueError(f"no number: {text}") from None
    bits, signed = INTEGERS[signature]
    lowest = -(1 << bits - 1) if signed else 0
    if not lowest <= number < lowest + (1 << bits):
        raise ValueError(f"{number} does not fit into {bits} bits" + ("" if signed else " without a sign"))
    return number
