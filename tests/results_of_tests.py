"""Results as a run of the suite would have them, made up: with every verdict, and with texts that mean harm."""

from __future__ import annotations

from ocirun_conformance.model import Outcome, RuntimeReport, Verdict
from ocirun_conformance.register import Register, load

HOSTILE = "</script></pre><script>window.harmed = 1</script><b>bold</b> & \"quoted\" 'so' \x1b[31m \0 | `x` # TODO\n..."

REGISTER: Register = load()
MUSTS = [one.code for one in REGISTER.requirements.values() if one.level == "MUST" and one.observable]
SHOULDS = [one.code for one in REGISTER.requirements.values() if one.level == "SHOULD" and one.observable]


def outcome(code: str, verdict: Verdict, case: str = "made.up", **more: object) -> Outcome:
    """What a case found about one requirement."""
    texts: dict[str, object] = (
        {"reason": f"reason of {code}"}
        if verdict in ("skip", "impossible")
        else {"expected": "this", "found": "this" if verdict == "pass" else "that", "commands": ("true", "false")}
    )
    return Outcome(case, code, REGISTER.requirements[code].level, verdict, **{"seconds": 0.25, **texts, **more})  # type: ignore[arg-type]


def report(name: str, *outcomes: Outcome) -> RuntimeReport:
    """What was found about one runtime."""
    return RuntimeReport(
        name, f"/opt/{name}", "1.0\nspec: 1.3.0", "6.1.0", "hybrid", "root", "2026-01-02T03:04:05Z", outcomes
    )


def two() -> tuple[RuntimeReport, RuntimeReport]:
    """One that passes most, and one with every verdict."""
    first = report("good", *(outcome(code, "pass") for code in MUSTS + SHOULDS))
    second = report(
        "bad",
        outcome(MUSTS[0], "fail", expected="an error", found=HOSTILE, commands=("mkdir b", HOSTILE), bundle="/kept/b"),
        outcome(MUSTS[0], "pass", case="other.case"),
        outcome(SHOULDS[0], "warning", found="nothing of the kind"),
        outcome(MUSTS[1], "skip", reason=HOSTILE),
        outcome(MUSTS[2], "impossible"),
        *(outcome(code, "pass") for code in MUSTS[3:50]),
    )
    return first, second
