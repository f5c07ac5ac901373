import matplotlib.pyplot
import numpy as np
import pytest
from matplotlib.patches import Rectangle

from sgt_hf.faithfulness.report import Curves, FaithfulnessReport
from sgt_hf.reporting.plots import (
    PALETTE,
    accuracy_drop,
    aopc_curve,
    drops_of,
    gradient_distribution,
    localization_by_position,
    mean_and_band,
    saliency_maps,
    to_png,
)

BINS = (0.1, 0.5)


def lines(axes):
    """What the curves with a name show."""
    return {line.get_label(): line.get_ydata() for line in axes.get_lines() if not line.get_label().startswith("_")}


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def test_drops_of_a_report_on_paper():
    curves = {
        "gradient": Curves(np.array([[[0.5, 0.2]]]), np.array([[[0.7, 0.9]]])),
        "random": Curves(np.array([[[0.8, 0.6], [0.6, 0.4]]]), np.array([[[0.1, 0.1], [0.3, 0.3]]])),
    }
    report = FaithfulnessReport(curves, np.array([0.9]), np.array([0.5]), np.array([1]), None, {}, None)
    comprehensiveness, sufficiency = drops_of(report, "gradient")
    np.testing.assert_allclose(comprehensiveness, [[0.4, 0.7]])
    np.testing.assert_allclose(sufficiency, [[0.2, 0.0]], atol=1e-12)
    np.testing.assert_allclose(drops_of(report, "random")[0], [[0.2, 0.4]])  # the mean of its draws


def test_aopc_curve_shows_means_bands_and_units():
    drops = {"plain": [[0.1, 0.2], [0.3, 0.4]], "guided": [[0.5, 0.6], [0.7, 0.8]]}
    figure = aopc_curve(drops, {name: [[0.0, 0.1]] for name in drops}, bins=BINS, band="range")
    left, right = figure.axes
    np.testing.assert_allclose(lines(left)["plain"], [0.2, 0.3])
    np.testing.assert_allclose(lines(right)["guided"], [0.0, 0.1])
    low, high = left.collections[0].get_datalim(left.transData).intervaly
    assert (low, high) == pytest.approx((0.1, 0.4))
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["10", "50"]
    assert "%" in left.get_xlabel()
    assert "probability" in left.get_ylabel()
    assert "bands: lowest to highest, n = 1, 2" in texts(figure)


def test_curves_differ_in_more_than_colour():
    figure = accuracy_drop({str(i): [[0.5, 0.4]] for i in range(8)}, percents=[0, 50])
    styles = [(line.get_linestyle(), line.get_marker()) for line in figure.axes[0].get_lines()]
    assert len(set(styles)) == 8
    assert len(set(PALETTE)) == 7
    assert "no bands" in texts(figure)


def test_accuracy_drop_is_in_percent():
    figure = accuracy_drop({"plain": [[1.0, 0.5], [0.8, 0.3]]}, percents=[0, 90])
    (axes,) = figure.axes
    np.testing.assert_allclose(lines(axes)["plain"], [90, 40])
    low, high = axes.collections[0].get_datalim(axes.transData).intervaly
    assert (low, high) == pytest.approx((30, 100))  # each point ± std([1, .8], ddof 1) / √2 = ± 10 points
    assert axes.get_xlabel().endswith("(%)")
    assert axes.get_ylabel() == "accuracy (%)"


def test_localization_by_position():
    figure = localization_by_position(
        {"plain": [[0.1, 0.2, 0.3]]}, {"plain": [[0.3, 0.2, 0.1]]}, positions=["early", "middle", "late"]
    )
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["early", "middle", "late"]
    np.testing.assert_allclose(lines(figure.axes[1])["plain"], [0.3, 0.2, 0.1])
    assert [axes.get_title() for axes in figure.axes] == ["AUP ↑", "AUR ↑"]


def test_saliency_maps_are_scaled_one_by_one():
    maps = {"plain": np.array([[[1.0, -2.0], [0, 0]], [[0.5, 0], [0, 0]]]), "zero": np.zeros((2, 2, 2))}
    figure = saliency_maps(np.zeros((2, 2, 2)), maps, names=["cat", "dog"])
    shown = [axes.get_images()[0].get_array() for axes in figure.axes[:6]]
    np.testing.assert_allclose(shown[1], [[0.5, -1.0], [0, 0]])
    np.testing.assert_allclose(shown[4], [[1.0, 0], [0, 0]])
    assert figure.axes[1].get_images()[0].get_clim() == (-1, 1)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["input", "plain", "zero"]
    assert figure.axes[3].get_ylabel() == "dog"
    unsigned = saliency_maps(np.zeros((1, 2, 2, 3)), {"plain": np.ones((1, 2, 2))})
    assert unsigned.axes[1].get_images()[0].get_clim() == (0, 1)


def test_series_run_to_the_right_and_their_box_is_outlined():
    series = np.zeros((1, 6, 4))  # 6 steps × 4 features
    informative = np.zeros((1, 6, 4), bool)
    informative[0, 1:3, 2:] = True
    figure = saliency_maps(series, {"plain": series}, kind="series", informative=informative)
    axes = figure.axes[1]
    assert axes.get_images()[0].get_array().shape == (4, 6)
    (box,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert (*box.get_xy(), box.get_width(), box.get_height()) == (0.5, 1.5, 2, 2)
    assert "time step" in texts(figure)


def test_gradient_distribution_scales_each_sample_to_itself():
    plain = [np.array([0.0, 0.0, 0.0, 10.0]), np.array([[0.0, -0.1]])]
    figure = gradient_distribution({"plain": plain}, names=["a", "b"])
    for axes, (zero, one) in zip(figure.axes, [(75.0, 40), (50.0, 0)], strict=True):
        values, edges, _ = axes.patches[0].get_data()
        assert values.sum() == pytest.approx(100)
        assert values[20] == zero  # the bin around 0
        assert values[one] == 100 - zero
        assert (edges[0], edges[-1]) == (-1, 1)
    pooled = gradient_distribution({"plain": plain}, pooled=True)
    (axes,) = pooled.axes
    assert axes.patches[0].get_data()[0][20] == pytest.approx(100 * 4 / 6)
    assert axes.get_title() == "2 samples together"


def test_bands_on_paper():
    values = [[1.0, 0.0], [3.0, 0.0]]
    assert [one.tolist() for one in mean_and_band(values, "range")] == [[2, 0], [1, 0], [3, 0]]
    assert [one.tolist() for one in mean_and_band(values, "standard_error")] == [[2, 0], [1, 0], [3, 0]]
    assert [one.tolist() for one in mean_and_band(values[:1], "bootstrap")] == [[1, 0]] * 3
    many = np.random.default_rng(0).normal(5, 2, (400, 1))
    mean, low, high = (float(one[0]) for one in mean_and_band(many, "bootstrap"))
    assert high - low == pytest.approx(2 * 1.96 * many.std() / 20, rel=0.1)
    assert low < mean < high


def test_a_figure_renders_to_the_same_png_and_leaves_pyplot_alone():
    maps = {r"_$\nonsense{": np.ones((1, 2, 2)), "nul\x00" + "x" * 99: np.ones((1, 2, 2))}
    first, second = (to_png(saliency_maps(np.ones((1, 2, 2)), maps, names=["$$"])) for _ in range(2))
    assert first == second
    assert first.startswith(b"\x89PNG")
    assert matplotlib.pyplot.get_fignums() == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: aopc_curve({}, {}, bins=BINS), "no curve"),
        (lambda: aopc_curve({"a": [[0.1]]}, {"a": [[0.1]]}, bins=BINS), r"curve 'a': expected \(N ≥ 1, 2\)"),
        (lambda: accuracy_drop({"a": [[np.nan, 1.0]]}, percents=[0, 1]), "curve 'a' holds a value that is not finite"),
        (lambda: accuracy_drop({"a": np.zeros((0, 1))}, percents=[0]), r"got shape \(0, 1\)"),
        (lambda: mean_and_band([[1.0]], "sigma"), "unknown band 'sigma': use one of"),
        (lambda: saliency_maps(np.ones((1, 2, 2)), {}), "at least one map"),
        (lambda: saliency_maps(np.ones((1, 2, 2)), {"a": np.ones((1, 2, 3))}), r"map 'a': expected shape \(1, 2, 2\)"),
        (lambda: saliency_maps(np.ones((1, 2, 2)), {"a": np.ones((1, 2, 2))}, names=["x", "y"]), "2 names"),
        (lambda: saliency_maps(np.ones((1, 1, 1)), {"a": [[[np.inf]]]}), "'a' holds a value that is not finite"),
        (lambda: gradient_distribution({"a": [[1.0]], "b": []}), "same number of samples"),
        (lambda: gradient_distribution({}), "same number of samples"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
