"""The tabs of TensorBoard in a headless Chromium: what the server has is also drawn where users look."""

import itertools
import json
import re
import shutil

import pytest
from helpers.charted import COMBINATIONS, Validated, fit_with
from helpers.logged_run import STEPS, run_apart
from helpers.tensorboard import serve, wait_until

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs Playwright: `pip install -e '.[browser]'`"
)

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
PATIENCE = 30_000  # milliseconds
NUMBER = r"-?[\d.]+(?:e-?\d+)?"

# The charts of the layout by their tags. Three validations are too few for a slope, so it has none.
CHARTS = {
    "LR, every group": ["LR/AdamW"],
    "Base LR, every group": ["lr_base/AdamW"],
    "Factor: LR / base LR": ["lr_factor/AdamW"],
    "Training loss, per step": ["Loss/train"],
    "Training loss per epoch, and validation loss": ["Loss/train_epoch", "Loss/val"],
    "Loss after each step of the test": ["range_test/loss"],
    "LR of each step of the test": ["range_test/lr"],
}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium on the PATH: `apt-get install chromium`"),
]


@pytest.fixture(scope="module")
def logs(once):
    return once("logs in a browser", lambda folder: run_apart(folder, "whole"))


@pytest.fixture(scope="module")
def range_test(logs):
    lines = (logs / "whole/decisions.jsonl").read_text().splitlines()
    [decision] = [entry for entry in map(json.loads, lines) if entry["kind"] == "range test"]
    return decision


@pytest.fixture(scope="module")
def server(logs):
    with serve(str(logs)) as running:
        wait_until(lambda: _has_read_all(running))
        yield running


def _has_read_all(server):
    tags = server.json("plugin/scalars/tags")
    images = server.json("plugin/images/tags").get("whole", {})
    return (
        {"Overview", "range_test", "plateau/val_acc"} <= images.keys()
        and "Loss/train_epoch" in tags.get("whole", {})
        and len(server.curve("whole", "Loss/train_epoch")) == 3
        and "result/val_acc" in tags.get("whole/hparams", {})
    )


@pytest.fixture(scope="module")
def browser():
    playwright.expect.set_options(timeout=PATIENCE)
    flags = ["--no-sandbox", "--headless=new", "--disable-dev-shm-usage"]
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()


@pytest.fixture
def visit(browser, server):
    """Open a tab, given the part of its address that follows the `#`, without smoothing."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(PATIENCE)

    def go(tab):
        page.goto(f"{server.address}/#{tab}&_smoothingWeight=0")
        return page

    yield go
    page.close()


def show_outliers(page):
    """Have charts show the points that they leave out by default."""
    page.get_by_text("Ignore outliers in chart scaling").locator("visible=true").click()


def drawn(chart, *, points, index=0):
    """Wait until a chart has a line of that many points; return these in pixels, y pointing down."""
    line = chart.locator("path.line[d*='L']").nth(index)
    # A chart that is not in sight need not be drawn.
    chart.scroll_into_view_if_needed()
    point = f"{NUMBER},{NUMBER}"
    playwright.expect(line, f"A line of {points} points").to_have_attribute(
        "d", re.compile(f"^M{point}(?:L{point}){{{points - 1}}}$")
    )
    return [tuple(map(float, pair.split(","))) for pair in re.findall(point, line.get_attribute("d"))]


@pytest.mark.parametrize(
    ("tab", "groups", "cards", "first"),
    [
        ("timeseries", "metrics-card-groups .group-title", "metrics-card-groups card-view", ["Overview"]),
        ("scalars", "tf-category-paginated-view:visible .category-name", "tf-scalar-card:visible", []),
    ],
)
def test_the_first_screen_is_the_lr_and_the_loss(visit, tab, groups, cards, first):
    page = visit(tab)
    first = ["LR", "Loss", *first, "epoch"]
    titles = page.locator(groups)

    playwright.expect(titles.nth(len(first))).to_be_attached()

    assert titles.all_inner_texts()[: len(first)] == first
    # TensorBoard opens the first two: one LR, and three losses.
    playwright.expect(page.locator(cards)).to_have_count(4)


def test_scalars_draw_the_ramp_and_the_decay_of_every_step(visit):
    page = visit("scalars&tagFilter=^LR/|^Loss/train$")
    show_outliers(page)
    cards = page.locator("tf-scalar-card:visible")

    points = drawn(cards.filter(has_text="tag: LR/AdamW").first, points=STEPS)

    heights = [-y for _, y in points]
    # The warm-up is 5 steps long.
    assert heights[:6] == sorted(set(heights[:6]))
    assert heights[5:] == sorted(set(heights[5:]), reverse=True)
    gaps = [after[0] - before[0] for before, after in itertools.pairwise(points)]
    assert gaps == pytest.approx([gaps[0]] * (STEPS - 1))
    assert gaps[0] > 0
    drawn(cards.filter(has_text="tag: Loss/train").first, points=STEPS)


def test_custom_scalars_draw_every_curve_of_the_layout(visit, server):
    page = visit("custom_scalars")
    show_outliers(page)
    cards = page.locator("tf-custom-scalar-multi-line-chart-card")

    for title, tags in CHARTS.items():
        chart = cards.filter(has=page.get_by_text(title, exact=True))
        for index, tag in enumerate(tags):
            points = drawn(chart, points=len(server.curve("whole", tag)), index=index)
            assert points[-1][0] > points[0][0]
    playwright.expect(cards).to_have_count(len(CHARTS))
    playwright.expect(page.get_by_text("error", exact=False)).to_have_count(0)


def test_custom_scalars_draw_every_curve_in_any_combination_of_callbacks(browser, once):
    def make(root):
        for number, names in enumerate(COMBINATIONS):
            fit_with(names, root, f"{number:02}")
        fit_with(["decay", "plateau"], root, "logs itself", Validated)

    page = browser.new_page(viewport={"width": 1600, "height": 1200})
    page.set_default_timeout(PATIENCE)
    with serve(str(once("logs of every combination", make)), "--load_fast", "false") as server:
        wait_until(lambda: len(server.json("plugin/scalars/tags")) == 2 * len(COMBINATIONS) + 2)
        layout = server.json("plugin/custom_scalars/layout")
        runs = [run for run in server.json("plugin/scalars/tags") if not run.endswith("/hparams")]
        page.goto(f"{server.address}/#custom_scalars&_smoothingWeight=0")
        show_outliers(page)

        charts = [chart for category in layout["category"] for chart in category["chart"]]
        cards = page.locator("tf-custom-scalar-multi-line-chart-card")
        playwright.expect(cards).to_have_count(len(charts))
        for number, chart in enumerate(charts):
            card = cards.nth(number)
            card.scroll_into_view_if_needed()
            curves = [
                points
                for run in runs
                for tag in chart["multiline"]["tag"]
                for points in server.json("plugin/custom_scalars/scalars", run=run, tag=tag)[
                    "tag_to_events"
                ].values()
                if len(points) > 1
            ]
            assert curves, chart["title"]
            playwright.expect(card.locator("path.line[d*='L']")).to_have_count(len(curves))
        playwright.expect(page.get_by_text("error", exact=False)).to_have_count(0)
    page.close()


@pytest.mark.parametrize("tag", ["Overview", "range_test", "plateau/val_acc", "lr"])
def test_images_show_the_figure(visit, tag):
    page = visit(f"images&tagFilter=^{tag}$")
    image = page.locator("tf-image-loader", has_text=f"tag: {tag}").first.locator("img")
    image.scroll_into_view_if_needed()

    page.wait_for_function("image => image.complete && image.naturalWidth >= 400", arg=image.element_handle())

    colors = image.evaluate(
        """image => {
            const {naturalWidth: width, naturalHeight: height} = image;
            const canvas = new OffscreenCanvas(width, height).getContext("2d");
            canvas.drawImage(image, 0, 0);
            return new Set(new Uint32Array(canvas.getImageData(0, 0, width, height).data.buffer)).size;
        }"""
    )
    # Lines are anti-aliased: a picture with nothing in it has a color or two.
    assert colors > 20


def test_text_tells_which_lr_was_chosen_and_why(visit, range_test):
    page = visit("text")
    story = page.locator("tf-text-loader", has_text="tag: decisions/text_summary").first

    # The newest text comes first, and is the longest.
    item = story.locator("ol").first.get_by_role("listitem").filter(has_text="LRRangeTest, range test")

    playwright.expect(item).to_be_visible()
    playwright.expect(item).to_contain_text(range_test["summary"])
    playwright.expect(item).to_contain_text(range_test["effect"])


def test_hparams_show_the_row_of_the_run(visit, range_test):
    page = visit("hparams")
    table = page.locator("tf-hparams-table-view")

    for text in ("lr_base", "lr_found_by", "whole/hparams", f"{range_test['evidence']['lr']:#.5g}"):
        playwright.expect(table.get_by_text(text, exact=True).first).to_be_visible()
    found_by = f"LRRangeTest, {range_test['evidence']['rule']}"
    playwright.expect(table.get_by_text(found_by, exact=True).first).to_be_visible()
