"""The state document (runtime-spec runtime.md, "State"), with runc's layout."""

from __future__ import annotations

from ..record import Record

SPEC_VERSION = "1.3.0"  # the runtime-spec that this runtime implements


def json_string(text: str) -> str:
    """A JSON string as Go's encoder writes it: <, >, & and two line ends escaped; what is no UTF-8 becomes U+FFFD."""
    # Here, not above: `ocirun state` has no use for it, and loading it costs 0.3 ms.
    try:
        from _json import encode_basestring
    except ImportError:  # an interpreter without the accelerator
        from json.encoder import py_encode_basestring as encode_basestring

    clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    quoted: str = encode_basestring(clean)
    return _escaped_for_html(quoted)


def _escaped_for_html(text: str) -> str:
    for character in "&<>\u2028\u2029":
        if character in text:
            text = text.replace(character, f"\\u{ord(character):04x}")
    return text


class State(Record):
    """A container as `state` and `list` show it."""

    id: str
    pid: int  # PID 1 in the caller's pid namespace, 0 when stopped
    status: str  # "creating", "created", "running", "paused", "stopped"
    bundle: str
    rootfs: str
    created: str  # RFC 3339 with nanoseconds
    uid: int  # who created it
    document_tail: str  # the document from "bundle" on

    def document(self) -> str:
        """The JSON text that `ocirun state` prints."""
        return (
            f'{{\n  "ociVersion": "{SPEC_VERSION}",\n  "id": "{self.id}",\n  "pid": {self.pid},\n'
            f'  "status": "{self.status}",\n  {self.document_tail}'
        )

    def listed(self) -> str:
        """The document on one line, with the owner: an entry of `ocirun list --format json`."""
        import json  # `list` alone, and no engine calls it often

        whole = json.loads(self.document())
        whole["owner"] = self.owner
        text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
        return _escaped_for_html(text)

    @property
    def owner(self) -> str:
        """The user name of who created it, or the number."""
        import pwd  # `state` does not show it

        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


def document_tail(bundle: str, rootfs: str, created: str, annotations: dict[str, str]) -> str:
    """The document from "bundle" to the end: what never changes in a container's life."""
    parts = [
        f'"bundle": {json_string(bundle)}',
        f'"rootfs": {json_string(rootfs)}',
        f'"created": {json_string(created)}',
    ]
    if annotations:
        inner = ",\n".join(f"    {json_string(key)}: {json_string(annotations[key])}" for key in sorted(annotations))
        parts.append(f'"annotations": {{\n{inner}\n  }}')
    parts.append('"owner": ""')
    return ",\n  ".join(parts) + "\n}"


def hook_state(id: str, bundle: str, status: str, annotations: dict[str, str]) -> tuple[str, str]:
    """The document on a hook's standard input, as the text before and after the pid."""
    head = f'{{"ociVersion":"{SPEC_VERSION}","id":{json_string(id)},"status":"{status}","pid":'
    tail = f',"bundle":{json_string(bundle)}'
    if annotations:
        inner = ",".join(f"{json_string(key)}:{json_string(value)}" for key, value in sorted(annotations.items()))
        tail += f',"annotations":{{{inner}}}'
    return head, tail + "}"
