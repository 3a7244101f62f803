"""The page of HTML in a real browser (Chromium without a window): how it looks, and that its filters work."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from ocirun_conformance.report import render
from results_of_tests import MUSTS, REGISTER, SHOULDS, two

# Before anything of the page: everything that goes wrong in it is kept.
COLLECTOR = """<script>
const wrong = [];
addEventListener("error", (event) => wrong.push(String(event.message || event.target.outerHTML)), true);
addEventListener("unhandledrejection", (event) => wrong.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => wrong.push(event.violatedDirective + " " + event.blockedURI));
for (const name of ["error", "warn"]) { console[name] = (...words) => wrong.push(words.join(" ")); }
</script>"""

# After it: what a reader would do, and what is to be seen then.
DRIVER = """<script>
const form = document.querySelector(".filters");
const requirements = [...document.querySelectorAll(".requirement")];
const visible = () => requirements.filter((one) => one.checkVisibility()).map((one) => one.id);
const set = (values) => {
  form.reset();
  for (const [name, value] of Object.entries(values)) {
    const field = form.elements[name];
    if (field.type === "checkbox") { field.checked = value; } else { field.value = value; }
  }
  form.dispatchEvent(new Event("input", { bubbles: true }));
  return visible();
};
const result = { all: visible(), width: innerWidth, wide: document.documentElement.scrollWidth };
result.fails = set({ verdict: "fail" });
result.shown = document.getElementById("shown").textContent;
result.failsOfFirst = set({ verdict: "fail", runtime: "0" });
result.nothing = document.getElementById("nothing").checkVisibility();
result.level = set({ level: "SHOULD" });
result.file = set({ file: "bundle.md" });
result.search = set({ find: "NOTHING of kind" });
result.searchReason = set({ find: "window.harmed" });
result.differ = set({ differ: true, verdict: "warning" });
set({});
const first = document.getElementById(FIRST);
result.hiddenReason = first.querySelector(".reason").checkVisibility();
first.querySelector("summary").click();
result.reason = first.querySelector(".reason").innerText;
result.openWide = document.documentElement.scrollWidth;
result.ground = getComputedStyle(document.body).backgroundColor;
result.verdict = [...first.querySelectorAll("summary .verdict")].map((one) => one.innerText.trim());
set({ level: "SHOULD" });
location.hash = "#" + FIRST;
setTimeout(() => {
  result.linked = first.checkVisibility() && first.open;
  result.harmed = "harmed" in window;
  result.loaded = performance.getEntriesByType("resource").map((one) => one.name);
  result.wrong = wrong;
  set({});
  form.scrollIntoView();
  parent.postMessage(result, "*");
}, 100);
</script>"""

# The page in a frame, for no window of this browser is as narrow as a phone's.
FRAME = """<!doctype html><meta charset="utf-8"><body style="margin: 0"><iframe src="page.html"
style="width: {width}px; height: {height}px; border: 0; display: block"></iframe>
<script type="application/json"></script>
<script>
addEventListener("message", (event) => {{ document.querySelector("script").textContent =
encodeURIComponent(JSON.stringify(event.data)); }});
</script>"""

DESKTOP, PHONE = (1280, 900), (390, 844)


class Seen:
    """What the driver found, and the screenshot's size and share of picture points that are not the one before."""

    def __init__(self, found: dict[str, Any], png: bytes) -> None:
        self.found = found
        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        data, at = b"", 8
        while at < len(png):
            (length,) = struct.unpack_from(">I", png, at)
            if png[at + 4 : at + 8] == b"IHDR":
                self.size = struct.unpack_from(">II", png, at + 8)
            if png[at + 4 : at + 8] == b"IDAT":
                data += png[at + 8 : at + 8 + length]
            at += length + 12
        raw = zlib.decompress(data)
        self.drawn = 1 - raw.count(0) / len(raw)


def look(folder: Path, size: tuple[int, int], dark: bool = False) -> Seen:
    """Opens the page of two() at the size, does what DRIVER says, and takes a screenshot: screenshot.png in folder."""
    browser = shutil.which("chromium")
    assert browser, "there is no chromium: native/setup.sh test installs it"
    page = render("html", two(), REGISTER, [*MUSTS, *SHOULDS])
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', page)
    assert policy
    page = page.replace(policy[0], policy[0] + COLLECTOR)
    page = page.replace("</body>", DRIVER.replace("FIRST", json.dumps(MUSTS[0])) + "</body>")
    (folder / "page.html").write_text(page)
    (folder / "frame.html").write_text(FRAME.format(width=size[0], height=size[1]))
    # Without a sandbox, for Chromium has none as root; it opens nothing but our own page.
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000",
        f"--window-size={size[0]},{size[1]}", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        f"--screenshot={folder / 'screenshot.png'}", "--dump-dom", (folder / "frame.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    text = re.search(r'<script type="application/json">(.*?)</script>', done.stdout, re.DOTALL)
    assert text and text[1], done.stderr[-2000:]
    return Seen(json.loads(unquote(text[1])), (folder / "screenshot.png").read_bytes())


@pytest.fixture(scope="module", params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return look(tmp_path_factory.mktemp("page"), request.param)


def test_no_script_error_and_nothing_loaded(seen: Seen) -> None:
    assert seen.found["wrong"] == [] and seen.found["loaded"] == [] and seen.found["harmed"] is False


def test_it_fits_the_screen(seen: Seen) -> None:
    assert seen.found["width"] == seen.size[0]
    assert seen.found["wide"] <= seen.found["width"] and seen.found["openWide"] <= seen.found["width"]


def test_the_screenshot_shows_something(seen: Seen) -> None:
    assert seen.size in (DESKTOP, PHONE) and seen.drawn > 0.01


def test_filters(seen: Seen) -> None:
    found = seen.found
    assert set(found["all"]) == set(REGISTER.requirements)
    assert found["fails"] == [MUSTS[0]] and found["shown"] == f"1 of {len(REGISTER.requirements)} requirements"
    assert found["failsOfFirst"] == [] and found["nothing"] is True
    assert {REGISTER.requirements[code].level for code in found["level"]} == {"SHOULD"}
    assert set(found["file"]) == {code for code in REGISTER.requirements if code.startswith("bundle.")}
    assert found["search"] == [SHOULDS[0]]
    assert set(found["searchReason"]) == {MUSTS[0], MUSTS[1]}
    assert found["differ"] == [SHOULDS[0]]


def test_reasons_are_one_click_away(seen: Seen) -> None:
    assert seen.found["hiddenReason"] is False
    for part in ("an error", "window.harmed", "<b>bold</b>", "mkdir b", "/kept/b", "other.case"):
        assert part in seen.found["reason"]
    assert seen.found["linked"] is True


def test_runtimes_are_told_apart(seen: Seen) -> None:
    # On a phone there are no columns, so each verdict has its runtime beside it.
    expected = ["pass good", "fail bad"] if seen.size == PHONE else ["pass", "fail"]
    assert [" ".join(text.split()) for text in seen.found["verdict"]] == expected


def test_dark_mode(tmp_path: Path, seen: Seen) -> None:
    dark = look(tmp_path, seen.size, dark=True)
    assert dark.found["wrong"] == []
    bright, dim = (sum(map(int, re.findall(r"\d+", one.found["ground"]))) for one in (seen, dark))
    assert bright > 600 and dim < 150
