"""YAML 1.2 for the files that users write: the core schema, with bounds on size and depth, and the line of each value.

PyYAML's parser reads the syntax, and its dumper writes it. What a plain scalar means is decided here: PyYAML follows
YAML 1.1, in which `yes` is true, `010` is 8 and `1:30` is 90.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

LARGEST = 2**20
"""Largest size of a file in bytes."""
DEEPEST = 50
"""Largest depth to which lists and mappings may be nested."""
MOST = 100_000
"""Largest number of values of a file, where what an alias stands for counts each time."""
LONGEST_NUMBER = 400
"""Largest number of characters of a number."""

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_DECIMAL, _OCTAL, _HEXADECIMAL = re.compile(r"[-+]?[0-9]+"), re.compile(r"0o[0-7]+"), re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_BOOLEANS_OF_1_1 = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_NUMBER_OF_1_1 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])*(\.[0-9_]*)?|[-+]?0b[01_]+")
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_LINE = re.compile(r"line [0-9]+: ")

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's where PyYAML has it, since it is faster


@dataclass
class Node:
    """One value of a file, with its place."""

    line: int
    """Line in which it begins; for the value of a mapping, the line of its key."""
    content: Any
    """A scalar; or, by index or key, the nodes of a list or a mapping."""
    written: str | None = None
    """A plain scalar as it is written; None for all others."""
    size: int = 1
    """Number of values in it, where what an alias stands for counts each time."""
    given: str = ""
    """The option of a command that gave it; empty for what a file holds."""

    def data(self) -> Any:
        """Return the value as lists, dicts and scalars."""
        if isinstance(self.content, dict):
            return {key: node.data() for key, node in self.content.items()}
        if isinstance(self.content, list):
            return [node.data() for node in self.content]
        return self.content


class Document:
    """The content of a YAML file, which tells where the values are that mistakes are about."""

    def __init__(self, root: Node | None) -> None:
        self._root = root
        self.data: Any = root.data() if root else None

    def placed(self, mistake: str) -> str:
        """Return a mistake that begins with a dotted path, with the line of the path before it, and with advice where
        YAML 1.1 reads the value otherwise. A mistake of which no part of the path is in the file is returned as it
        is."""
        path, colon, _ = mistake.partition(": ")
        node, rest, given = self._root, path if colon else "", ""
        while node and rest and (step := _step(node, rest)):
            node, rest = step
            given = node.given or given
        if node is None or node is self._root:
            return mistake
        if given:
            return f"{given}: {mistake}"
        advice = "" if rest else _advice(node, mistake)
        return f"line {node.line}: {mistake}{advice}"

    def change(self, option: str, path: str, value: str, mistakes: list[str]) -> None:
        """Put a value, written as YAML, at a dotted path, in place of what is there. `option` is what mistakes in it
        are told of."""
        found: list[str] = []
        new = parse(value, found)._root or Node(0, None)
        names = path.split(".")
        if not all(names):
            found.append("must be a dotted path and a value, such as stage2.steps=200")
        try:
            if not found:
                self._root = _changed(self._root, names, replace(new, given=option))
                self.data = self._root.data()
        except ValueError as error:
            found.append(str(error))
        mistakes += [f"{option}: {_LINE.sub('', told)}" for told in found]


def read(file: Path, mistakes: list[str]) -> Document:
    """Return the content of a YAML file; that of an empty one, with mistakes added, where it cannot be read."""
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as error:
        mistakes.append(f"cannot be read: {error.strerror}")
        return Document(None)
    if len(content) > LARGEST:
        mistakes.append(f"is larger than {LARGEST // 2**20} MiB, the largest size of a YAML file")
        return Document(None)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        mistakes.append(f"line {1 + content[: error.start].count(10)}: is not YAML: it is not UTF-8")
        return Document(None)
    return parse(text, mistakes)


def parse(text: str, mistakes: list[str]) -> Document:
    """Return the content of a YAML text; that of an empty one, with mistakes added, where it is not valid."""
    if found := _UNPRINTABLE.search(text):
        line = 1 + text.count("\n", 0, found.start())
        mistakes.append(f"line {line}: is not YAML: unacceptable character {_named(found.group())}")
        return Document(None)
    before, builder = len(mistakes), _Builder(mistakes)
    try:
        for event in yaml.parse(text, Loader=_Parser):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = ", ".join(filter(None, [error.context, error.problem]))
        mistakes.append(f"line {mark.line + 1}: is not YAML: {told}" if mark else f"is not YAML: {told}")
    except _Bound as error:
        mistakes.append(str(error))
    return Document(builder.root if len(mistakes) == before else None)


def dump(data: Any, **options: Any) -> str:
    """Return data as YAML that the core schema and YAML 1.1 read as the same; `options` are those of yaml.dump."""
    return str(yaml.dump(data, Dumper=_Dumper, **options))


class _Bound(Exception):
    """A file exceeds one of the bounds, so that nothing more of it is read."""


@dataclass
class _Open:
    """A list or a mapping whose end has not been read."""

    node: Node
    anchor: str | None
    key: Node | None = None
    """Key of a mapping whose value comes next."""


@dataclass
class _Builder:
    """Builds nodes from the events of PyYAML's parser, one after the other."""

    mistakes: list[str]
    root: Node | None = None
    open: list[_Open] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)
    count: int = 0
    """Number of values so far, without what aliases stand for."""

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, line)
            self._anchored(event.anchor, node)
            self._add(node, line)
        elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            self._refuse_tag(event, line)
            if len(self.open) == DEEPEST:
                raise _Bound(f"line {line}: lists and mappings are nested more than {DEEPEST} deep")
            empty: Any = [] if isinstance(event, yaml.SequenceStartEvent) else {}
            self.open.append(_Open(Node(line, empty), event.anchor))
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            ended = self.open.pop()
            self._anchored(ended.anchor, ended.node)
            self._add(ended.node, ended.node.line)
        elif isinstance(event, yaml.AliasEvent):
            self._add(replace(self._meant(str(event.anchor), line), line=line), line)
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise _Bound(f"line {line}: a second document begins; a file has one")

    def _scalar(self, event: Any, line: int) -> Node:
        self._refuse_tag(event, line)
        text: str = event.value
        if found := _UNPRINTABLE.search(text):
            self.mistakes.append(f"line {line}: a text with the character {_named(found.group())} is not allowed")
        if not event.implicit[0]:
            return Node(line, text)
        value = plain(text)
        if isinstance(value, int | float) and len(text) > LONGEST_NUMBER:
            raise _Bound(f"line {line}: a number has {len(text)} characters; at most {LONGEST_NUMBER} are allowed")
        return Node(line, value, text)

    def _refuse_tag(self, event: Any, line: int) -> None:
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.mistakes.append(f"line {line}: the tag {tag} is not allowed: write text, numbers, lists and mappings")

    def _anchored(self, anchor: str | None, node: Node) -> None:
        if anchor is not None:
            self.anchors[anchor] = node

    def _meant(self, anchor: str, line: int) -> Node:
        if any(one.anchor == anchor for one in self.open):
            raise _Bound(f"line {line}: *{anchor} stands within what it stands for")
        if anchor not in self.anchors:
            raise _Bound(f"line {line}: *{anchor} stands for nothing: no &{anchor} is before it")
        return self.anchors[anchor]

    def _add(self, node: Node, line: int) -> None:
        """Add a value to the list or the mapping that is open, or as the key of the next one."""
        self.count += 1
        if self.count > MOST or node.size > MOST:
            raise _Bound(f"line {line}: the file has more than {MOST:,} values, what aliases stand for included")
        if not self.open:
            self.root = node
            return
        inner = self.open[-1]
        if isinstance(inner.node.content, list):
            inner.node.content.append(node)
        elif inner.key is None:
            inner.key = self._key(node, line)
            return
        else:
            node.line = inner.key.line
            inner.node.content[inner.key.content] = node
            inner.key = None
        inner.node.size += node.size

    def _key(self, node: Node, line: int) -> Node:
        if isinstance(node.content, list | dict):
            raise _Bound(f"line {line}: a key is a list or a mapping: write text")
        if node.content in self.open[-1].node.content:
            self.mistakes.append(f"line {line}: the key {node.content!r} is given twice")
        return Node(line, node.content, node.written)


def plain(text: str) -> Any:
    """Return what a plain scalar means by the core schema: null, a boolean, a number, else text."""
    if _NULL.fullmatch(text):
        return None
    if _BOOLEAN.fullmatch(text):
        return text.lower() == "true"
    if len(text) > LONGEST_NUMBER:  # refused by its length where it is a number
        return 0 if _DECIMAL.fullmatch(text) or _FLOAT.fullmatch(text) or _HEXADECIMAL.fullmatch(text) else text
    if _DECIMAL.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEXADECIMAL.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.lower().replace(".", ""))
    return text


def _changed(node: Node | None, path: list[str], new: Node) -> Node:
    """Return the node with another one at a path below it. Raises ValueError where a list has no such item."""
    if not path:
        return new
    name, *rest = path
    if node is not None and isinstance(node.content, list):
        if not name.isdecimal() or int(name) >= len(node.content):
            raise ValueError(f"{name} is no item of the list there, whose {len(node.content)} items count from 0")
        items = list(node.content)
        items[int(name)] = _changed(items[int(name)], rest, new)
        return replace(node, content=items)
    if node is None or not isinstance(node.content, dict):
        node = Node(new.line, {}, given=new.given)
    return replace(node, content={**node.content, name: _changed(node.content.get(name), rest, new)})


def _step(node: Node, path: str) -> tuple[Node, str] | None:
    """Return the node at the first part of a dotted path, and the rest of the path; None if there is no such part."""
    names = path.split(".")
    for count in range(len(names), 0, -1):  # a name may have dots
        inner, part = None, ".".join(names[:count])
        if isinstance(node.content, dict):
            inner = node.content.get(part)
            if inner is None and (value := plain(part)) is not part:  # a key that is no text, such as a number
                inner = node.content.get(value)
        elif isinstance(node.content, list) and part.isdecimal() and int(part) < len(node.content):
            inner = node.content[int(part)]
        if inner is not None:
            return inner, ".".join(names[count:])
    return None


def _advice(node: Node, mistake: str) -> str:
    """Return what to write in place of what YAML 1.1 reads differently, or of a plain scalar that is no text."""
    if "<<: unknown key" in mistake:
        return "; YAML 1.2 merges no keys: write them out, or use an alias for the whole value"
    if node.written is None:
        return ""
    if "valid boolean" in mistake and (meant := _BOOLEANS_OF_1_1.get(node.written.lower())):
        return f"; write {meant}"
    if "valid string" in mistake and node.written:
        return f"; to mean text, write it in quotes: {node.written!r}"
    is_text = isinstance(node.content, str) and _NUMBER_OF_1_1.fullmatch(node.written)
    if is_text and ("valid integer" in mistake or "valid number" in mistake):
        return "; YAML 1.2 reads it as text: write a number in decimal digits alone"
    return ""


def _named(character: str) -> str:
    return f"U+{ord(character):04X}"


class _Dumper(yaml.SafeDumper):
    """SafeDumper that also puts text in quotes which the core schema alone reads as a number: 1e4, 0o10."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(rf"^(?:{_FLOAT.pattern}|{_NOT_FINITE.pattern}|{_OCTAL.pattern}|{_HEXADECIMAL.pattern})$"),
    list("-+.0123456789"),
)
