"""The page in a real browser: hostile text does nothing, filters and keys work, light and dark can be read."""

import io
import re

import matplotlib.image
import numpy as np
import pytest

from sgt_hf.reporting.html import Picture, Report, Table, TextEntry, View, render_report, write_report
from sgt_hf.reporting.plots import saliency_maps
from tests.reporting.chromium import Browser

pytestmark = [pytest.mark.slow, pytest.mark.browser]

ATTACKS = [
    "<script>window.__pwned = 1; alert(1)</script>",
    "</script><script>window.__pwned = 2</script>",
    "</style><script>window.__pwned = 3</script>",
    "<img src=x onerror='window.__pwned = 4'>",
    "<svg onload=alert(5)>",
    "\"><iframe src='https://example.invalid/'>",
    "' onmouseover='window.__pwned = 6' onfocus='window.__pwned = 6' autofocus tabindex=0 '",
    "<link rel=stylesheet href=//example.invalid/a.css>",
    "<meta http-equiv=refresh content='0;url=https://example.invalid/'>",
    "<base href=//example.invalid/>",
    "javascript:window.__pwned=7",
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "\u202egnp.exe\u202c \u2066isolated \u200b \ufeff",
    "nul\x00 escape\x1b[31m bell\x07 csi\x9b \x85 \u2028 \u2029 \ud800",
    "x" * 5000,
    "a" + "\u0301" * 200,
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Browser(tmp_path_factory.mktemp("chromium"))
    yield found
    found.close()


WORDS = ["a", "great", "film", ",", "not", "a", "bad", "one"]


def entry(number, plain, guided, label="POS", words=WORDS):
    scores = [0.1, 0.9, -0.5, None, 0.0, 0.3, 0.2, 0.05]
    views = [View(n, scores, p, 0.75, p == label) for n, p in (("plain", plain), ("guided", guided))]
    return TextEntry(f"review {number}", words, views, label=label, rationale=[i == 1 for i in range(8)])


def honest():
    maps = saliency_maps(np.eye(4)[None], {"plain": np.eye(4)[None], "guided": -np.eye(4)[None]})
    return Report(
        "Honest",
        tables=[Table("Results", ["", "plain"], [["accuracy", "0.9"]], ["of 3"])],
        maps=[Picture("Maps", maps, alt="a diagonal", caption="Left the input")],
        texts=[
            entry(0, "POS", "POS"),
            entry(1, "NEG", "POS"),
            entry(2, "NEG", "NEG", words="some other words for the search to find".split()),
        ],
    )


@pytest.fixture
def page(tmp_path):
    write_report(tmp_path / "report.html", honest())
    return tmp_path / "report.html"


def shown(browser):
    visible = "[...document.querySelectorAll('article')].filter(a => a.offsetParent).map(a => a.innerText)"
    return [int(re.search(r"review (\d+)", text)[1]) for text in browser.evaluate(visible)]


def status(browser, name):
    return browser.evaluate(f"document.getElementById('{name}').textContent")


def test_the_harness_notices_what_hostile_text_would_do(browser, tmp_path):
    path = tmp_path / "naive.html"
    path.write_text("<body>" + ATTACKS[0] + "<img src='http://127.0.0.1:9/x'>")
    browser.open(path)
    assert browser.evaluate("window.__pwned") == 1
    assert browser.dialogs == ["1"]
    assert any("127.0.0.1:9" in url for url in browser.requests)


def test_hostile_text_does_nothing_wherever_it_stands(browser, tmp_path):
    everything = " ".join(ATTACKS)
    views = [View(everything, [0.5] * len(ATTACKS), everything, 0.5, True)]
    text = TextEntry(everything, ATTACKS, views, everything, [True] * len(ATTACKS), None, everything, [everything])
    png = saliency_maps(np.eye(4)[None], {everything: np.eye(4)[None]})
    report = Report(
        everything, everything,
        tables=[Table(everything, ATTACKS, [ATTACKS], [everything])],
        maps=[Picture(everything, png, alt=everything, caption=everything)],
        texts=[text], provenance={everything: everything}, missing=ATTACKS,
    )  # fmt: skip
    path = tmp_path / "hostile.html"
    write_report(path, report)
    browser.open(path)
    browser.hover(".words .w")
    browser.press("Tab")
    assert browser.evaluate("window.__pwned") is None
    assert browser.dialogs == []
    assert [url for url in browser.requests if not url.startswith("data:image/png")] == [path.as_uri()]
    assert browser.evaluate("document.querySelectorAll('script, iframe, base, link, svg').length") == 1
    assert browser.evaluate("document.querySelectorAll('img').length") == 1
    handlers = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => n.startsWith('on'))"
    assert browser.evaluate(handlers) == []
    text = browser.evaluate("document.documentElement.outerHTML")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffd]", text)
    assert "⟨U+202E⟩gnp.exe⟨U+202C⟩" in text
    assert "⟨U+0000⟩" in text
    assert "{{ 7 * 7 }}" in text


def test_the_policy_stops_what_would_get_past_the_escaping(browser, tmp_path):
    attack = ATTACKS[0] + ATTACKS[3] + "<img src='http://127.0.0.1:9/x'>"
    attack += "<b style='color: red' id=b onclick='alert(1)'>b</b>"
    path = tmp_path / "injected.html"
    path.write_text(render_report(honest()).replace("<main", attack + "<main"))
    browser.open(path)
    browser.click("#b")
    assert browser.evaluate("window.__pwned") is None
    assert browser.dialogs == []
    assert browser.evaluate("getComputedStyle(document.getElementById('b')).color") != "rgb(255, 0, 0)"
    assert browser.evaluate("document.querySelector('img[src^=http]').naturalWidth") == 0
    assert shown(browser) == [0, 1, 2]


def test_filters_by_mouse(browser, page):
    browser.open(page)
    assert shown(browser) == [0, 1, 2]
    expectations = {"flipped": [1], "right-0": [0], "wrong-0": [1, 2], "right-1": [0, 1], "wrong-1": [2]}
    for value, expected in expectations.items():
        browser.click(f"input[value='{value}']")
        assert shown(browser) == expected
        assert status(browser, "count") == f"{len(expected)} of 3 texts shown"
    browser.click("input[value='']")
    browser.click("#search")
    browser.type("SEARCH to")
    assert shown(browser) == [2]
    labels = browser.evaluate("[...document.querySelectorAll('fieldset label')].map(l => l.textContent.trim())")
    arms = ["plain right (1)", "plain wrong (2)", "guided right (2)", "guided wrong (1)"]
    assert labels == ["all (3)", *arms, "flipped (1)"]


def test_search_alone_where_there_is_nothing_to_filter_by(browser, tmp_path):
    texts = [TextEntry(f"review {i}", [word], [View("gradient", [1.0], "POS")]) for i, word in enumerate("ab")]
    write_report(tmp_path / "alone.html", Report("Alone", texts=texts))
    browser.open(tmp_path / "alone.html")
    browser.click("#search")
    browser.type("review 1")
    assert shown(browser) == [1]
    assert status(browser, "count") == "1 of 2 texts shown"


def test_everything_by_keyboard(browser, page):
    browser.open(page)
    focus = "document.activeElement.id || document.activeElement.name || document.activeElement.className"
    stops = []
    while len(stops) < 30 and "words" not in stops:
        browser.press("Tab")
        stops.append(browser.evaluate(focus))
        if stops[-1] == "filter":
            for _ in range(5):
                browser.press("ArrowRight")
            assert shown(browser) == [1]
        if stops[-1] == "scores":
            browser.press(" ")
    assert stops[0] == "skip"
    assert {"scroll", "filter", "search", "scores", "words"} <= set(stops)
    after = "getComputedStyle(document.querySelector('article:not([hidden]) .w'), '::after').content"
    assert browser.evaluate(after) == '"\xa0+0.1"'  # the box beside each word, by the space key
    told = []
    for key in ("ArrowRight", "ArrowRight", "End", "ArrowRight", "Home", "ArrowLeft", "Escape"):
        browser.press(key)
        told.append(status(browser, "word"))
    first, last = "word 1 of 8: a, score +0.1", "word 8 of 8: one, score +0.05"
    assert told == [first, "word 2 of 8: great, score +0.9, marked by humans", last, last, first, first, ""]


def test_scores_by_pointing_and_by_clicking(browser, page):
    browser.open(page)
    word = "article .words .w:nth-of-type(4)"
    after = f"getComputedStyle(document.querySelector('{word}'), '::after').content"
    assert browser.evaluate(after) == "none"
    browser.hover(word)
    assert browser.evaluate(after) == '"\xa0not scored"'
    browser.click(word)
    assert status(browser, "word") == "word 4 of 8: ,, score not scored"


def test_without_javascript_all_texts_are_there(browser, page):
    browser.open(page, javascript=False)
    hidden = "document.getElementById('filters').offsetParent === null"
    browser.call("Emulation.setScriptExecutionDisabled", value=False)  # for our questions; the page's script is past
    assert browser.evaluate(hidden)
    assert shown(browser) == [0, 1, 2]


def test_a_narrow_window_needs_no_sideways_scrolling(browser, tmp_path):
    path = tmp_path / "narrow.html"
    texts = [entry(0, "POS", "NEG", words=["x" * 3000, *"bcdefgh"])]
    wide = Table("Wide", ["a" * 30] * 12, [["b"] * 12])
    write_report(path, Report("Narrow " + "y" * 500, tables=[wide], texts=texts))
    browser.open(path, width=320)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 320


def test_light_and_dark_have_contrast_and_do_not_rest_on_hue(browser, page, tmp_path):
    colours = """[...document.querySelectorAll('#texts > p .w, .note, h1, a, .badge')].map(e => {
        const own = getComputedStyle(e), parse = c => c.match(/[\\d.]+/g).map(Number);
        let at = e;
        while (at.parentElement && parse(getComputedStyle(at).backgroundColor)[3] === 0) at = at.parentElement;
        return [e.className, parse(own.color), parse(getComputedStyle(at).backgroundColor)];
    })"""
    brightness = {}
    for scheme in ("light", "dark"):
        browser.open(page, scheme=scheme)
        found = browser.evaluate(colours)
        assert len(found) > 8
        for name, ink, paper in found:
            assert contrast(ink, paper) >= 4.5, (scheme, name, ink, paper)
        steps = [luminance(paper) for name, _, paper in found if re.fullmatch(r"w p\d", name)]
        assert len(set(steps)) == 5
        assert steps == sorted(steps, reverse=scheme == "light")  # ever darker on white, ever lighter on black
        png = browser.screenshot()
        (tmp_path / f"{scheme}.png").write_bytes(png)
        brightness[scheme] = matplotlib.image.imread(io.BytesIO(png))[..., :3].mean()
    assert brightness["light"] > 0.8
    assert brightness["dark"] < 0.35


def luminance(colour):
    channels = np.array(colour[:3]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    """WCAG 2.2, contrast ratio."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
