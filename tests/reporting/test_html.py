import html.parser
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgt_hf.reporting.html import Picture, Report, Table, TextEntry, View, render_report, write_report
from sgt_hf.reporting.layout import intensity, top_words
from sgt_hf.reporting.plots import gradient_distribution
from sgt_hf.reporting.visible import visible

PNG = b"\x89PNG\r\n\x1a\nrest"
VOID = {"meta", "img", "input"}


class Outline(html.parser.HTMLParser):
    """The elements of a page and its visible text; fails on elements that are not closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text += data

    def all(self, tag, css=None):
        found = [attributes for name, attributes in self.seen if name == tag]
        return [one for one in found if css is None or css in one.get("class", "").split()]


def entry(title="r0", words=("a", "fine", "film"), scores=(0.0, 1.0, -0.5), **more):
    views = [View("plain", scores, "POS", 0.9, True), View("guided", scores, "NEG", 0.6, False)]
    return TextEntry(title, list(words), views, **more)


def test_a_page_on_paper():
    report = Report(
        "A <title>",
        lead="What & why",
        tables=[Table("T", ["", "plain"], [["accuracy", "0.9 < 1"]], ["± over seeds"])],
        figures=[Picture("F", PNG, alt='curves "up"', caption="c")],
        maps=[Picture("M", gradient_distribution({"a": [[1.0]]}), alt="maps")],
        texts=[entry(label="POS", rationale=[False, True, True], context="claim", notes=["cut"])],
        provenance={"command": "python x"},
        missing=["scores of seed 1"],
    )
    page = Outline(render_report(report))
    for piece in ("A <title>", "What & why", "0.9 < 1", "± over seeds", "claim", "cut", "python x", "scores of seed 1"):
        assert piece in page.text
    assert [one["alt"] for one in page.all("img")] == ['curves "up"', "maps"]
    assert all(one["src"].startswith("data:image/png;base64,") for one in page.all("img"))
    words = page.all("p", "words")
    assert len(words) == 2
    spans = [one for one in page.all("span", "w") if "data-score" in one]
    assert [(one["class"], one["data-score"]) for one in spans[:3]] == [
        ("w", "+0"),
        ("w p5 r", "+1"),
        ("w n2 r", "-0.5"),
    ]
    assert page.all("article")[0]["data-tags"] == "right-0 wrong-1 flipped"
    assert "1 of 1 texts shown" in page.text
    assert "Marked by humans: 1 passage" in page.text
    assert re.search(r"plain: POS\s+0.900\s+✓ right", page.text)


def test_nothing_in_a_page_asks_for_anything():
    page = render_report(Report("t", texts=[entry()], figures=[Picture("F", PNG, alt="a")]))
    assert re.findall(r"https?:", page) == []
    assert re.findall(r"(?:src|href)=\"(?!#|data:image/png;)", page) == []
    policy = next(one["content"] for one in Outline(page).all("meta") if one.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_empty_sections_are_left_out():
    page = Outline(render_report(Report("Only a title")))
    assert page.all("section") == []
    assert page.all("img") == []
    assert page.text.count("Only a title") == 2  # the window's title and the heading


def test_the_number_of_texts_is_capped_and_said():
    texts = [entry(f"r{i}") for i in range(5)]
    assert len(Outline(render_report(Report("t", texts=texts))).all("article")) == 5
    page = Outline(render_report(Report("t", texts=texts), max_texts=4))
    assert len(page.all("article")) == 4
    assert "1 more text was left out" in page.text
    assert "3 more texts were left out" in Outline(render_report(Report("t", texts=texts), max_texts=2)).text


def test_filters_are_those_that_can_find_something():
    views = [View("gradient", [1.0], "POS")]
    page = Outline(render_report(Report("t", texts=[TextEntry("r0", ["a"], views)])))
    assert page.all("fieldset") == []
    assert "Show the texts that contain" in page.text
    inputs = Outline(render_report(Report("t", texts=[entry()]))).all("input")
    values = [one["value"] for one in inputs if "value" in one]
    assert values == ["", "right-0", "wrong-0", "right-1", "wrong-1", "flipped"]


def test_gaps_and_words_give_the_text_back():
    gapped = entry(words=["fine", "film"], scores=[1.0, None], gaps=["«", "\n", "!»"])
    page = render_report(Report("t", texts=[gapped]))
    spans = re.search(r'<p class="words".*?>(.*?)</p>', page, re.S)[1]
    assert re.sub("<.*?>", "", spans) == "«fine\nfilm!»"
    assert 'data-score="not scored"' in spans
    assert "(0)" in Outline(render_report(Report("t", texts=[entry(words=[], scores=[])]))).text


@settings(max_examples=25)
@given(st.text(), st.text())
def test_any_text_stays_text(word, title):
    report = Report(title, texts=[entry(title, words=[word], scores=[1.0])], provenance={title: word})
    page = render_report(report)
    assert [tag for tag, _ in Outline(page).seen] == [tag for tag, _ in Outline(page_of_plain_words()).seen]
    page.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)


def page_of_plain_words():
    return render_report(Report("t", texts=[entry("t", words=["w"], scores=[1.0])], provenance={"t": "w"}))


@given(st.text())
def test_visible_keeps_ordinary_text_and_is_idempotent(text):
    shown = visible(text)
    assert visible(shown) == shown
    shown.encode("utf-8")
    if text.isascii() and text.isprintable():
        assert shown == text


def test_visible_on_paper():
    assert visible("Grüße, 世界! שלום 👩\u200d🚀\n\t") == "Grüße, 世界! שלום 👩\u200d🚀\n\t"
    assert visible("\r\x1b\x7f\x9b\u00ad\u200f\u2066\ufeff\ud800\U000e0041") == "".join(
        f"⟨U+{code}⟩" for code in "000D 001B 007F 009B 00AD 200F 2066 FEFF D800 E0041".split()
    )


@given(st.lists(st.none() | st.floats(-1e6, 1e6) | st.just(float("nan"))))
def test_intensity_is_the_rounded_share_of_the_largest(scores):
    known = [0.0 if score is None or np.isnan(score) else score for score in scores]
    largest = max(map(abs, known), default=0.0)
    expected = [round(5 * score / largest) if largest else 0 for score in known]
    assert intensity(scores) == expected


def test_ranking_breaks_ties_to_the_earlier_word():
    assert top_words([0.5, None, 0.7, 0.5, float("nan"), -1.0]) == [2, 0, 3, 5]
    assert top_words([0.5, 0.7], 1) == [1]


def test_a_page_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "report.html"
    write_report(path, Report("first"))
    assert "first" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="alt text"):
        write_report(path, Report("second", figures=[Picture("F", PNG, alt=" ")]))
    assert "first" in path.read_text(encoding="utf-8")
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("report", "message"),
    [
        (Report("t", tables=[Table("T", ["a", "b"], [["1"]])]), r"table 'T': 2 columns, and a row of 1: \['1'\]"),
        (Report("t", figures=[Picture("F", b"GIF89a", alt="a")]), "picture 'F' needs the bytes of a PNG"),
        (Report("t", texts=[entry(scores=(1.0,))]), "text 'r0' has 3 words and 1 scores of 'plain'"),
        (Report("t", texts=[entry(rationale=[True])]), "text 'r0' has 3 words and 1 rationale"),
        (Report("t", texts=[entry(gaps=["", ""])]), "text 'r0' has 3 words and 2 gaps"),
        (Report("t", texts=[TextEntry("r1", ["a"], [])]), "text 'r1': expected views"),
        (
            Report("t", texts=[entry(), TextEntry("r1", ["a"], [View("other", [1.0], "POS")])]),
            r"text 'r1': expected views \['plain', 'guided'\], got \['other'\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(report, message):
    with pytest.raises(ValueError, match=message):
        render_report(report)


def test_a_negative_cap_is_refused():
    with pytest.raises(ValueError, match="max_texts must be ≥ 0, got -1"):
        render_report(Report("t"), max_texts=-1)
