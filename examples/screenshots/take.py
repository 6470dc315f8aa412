"""Take the pictures of TensorBoard in README and tensorboard.md: `python examples/screenshots/take.py`.

Trains two of the examples in a temporary folder, opens each in TensorBoard in a headless Chromium and
saves what a user sees to `examples/screenshots/`. Needs a Chromium on the PATH and
`pip install -e ".[examples,browser]"`.
"""

import contextlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
EXAMPLES = HERE.parent
WIDTH = 1200  # pixels
COLORS = 64  # a palette of that many keeps the files small
PATIENCE = 60_000  # milliseconds
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class View:
    """What to show in one picture.

    Args:
        name: The name of the file.
        tab: The part of TensorBoard's address that follows the `#`.
        height: Of the picture, in pixels.
        drawn: Selects what has to be there before the picture is taken.
        count: How many of those there have to be.
        click: The text of a box to click before.
        dark: Whether TensorBoard is in its dark mode.
        width: Of the picture, in pixels.
    """

    name: str
    tab: str
    height: int
    drawn: str
    count: int = 1
    click: str | None = None
    dark: bool = False
    width: int = WIDTH


LINE = "path.line[d*='L']"
FULL_SIZE = "Show actual image size"
VIEWS = {
    "digits": [
        View("digits-time-series", "timeseries", 1000, "scalar-card line-chart", 3, width=1600),
        View("digits-overview", "images&tagFilter=Overview", 690, "tf-image-loader img", click=FULL_SIZE),
        View("digits-images-dark", "images", 640, "tf-image-loader img", dark=True),
        View("digits-custom-scalars", "custom_scalars&_smoothingWeight=0", 1130, LINE, 6),
        View("digits-text", "text", 550, "tf-text-loader li"),
        View("digits-range-test", "images&tagFilter=range_test", 770, "tf-image-loader img", click=FULL_SIZE),
    ],
    "plateau": [
        View("plateau-overview", "images&tagFilter=Overview", 690, "tf-image-loader img", click=FULL_SIZE),
        View("plateau-text", "text", 530, "tf-text-loader li"),
        View("plateau-verdicts", "images&tagFilter=plateau", 770, "tf-image-loader img", click=FULL_SIZE),
    ],
}


def train(story: str, folder: str) -> None:
    """Run an example as the README does, with its `logs` in a folder."""
    script = EXAMPLES / f"{story}.py"
    options = ["fit", "--config", str(script.with_suffix(".yaml"))]
    subprocess.run([sys.executable, str(script), *options], cwd=folder, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def tensorboard(story: str, folder: str) -> Iterator[str]:
    """Serve the logs of an example; yield the address once all of them have been read."""
    options = ["--host", "127.0.0.1", "--port", "0", "--load_fast", "false"]
    options += ["--reload_interval", "0", "--reload_task", "blocking"]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", f"logs/{story}", *options]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = ""
            for line in process.stderr:
                said += line
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield found[0]
                    return
            raise RuntimeError(f"TensorBoard has not started:\n{said}")
        finally:
            process.terminate()


def take(browser: Browser, address: str, view: View) -> bytes:
    """Return the picture of a view as a PNG, once everything in it has been drawn."""
    page = browser.new_page(viewport={"width": view.width, "height": view.height})
    page.set_default_timeout(PATIENCE)
    page.goto(f"{address}/?darkMode={str(view.dark).lower()}#{view.tab}")
    if view.click:
        page.get_by_text(view.click).locator("visible=true").click()
    page.locator(view.drawn).nth(view.count - 1).wait_for(state="attached")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(2000)  # for the lines on a canvas, of which the page says nothing
    png = page.screenshot(animations="disabled")
    page.close()
    return png


def save(png: bytes, path: Path) -> None:
    """Write a PNG with a small palette."""
    path.parent.mkdir(exist_ok=True)
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLORS).save(path, optimize=True)
    print(f"{path.relative_to(EXAMPLES.parent)}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Train, look, save."""
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        raise SystemExit("No Chromium on the PATH. Install one, for example: apt-get install chromium")
    flags = ["--no-sandbox", "--headless=new", "--disable-dev-shm-usage"]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        for story, views in VIEWS.items():
            train(story, folder)
            with tensorboard(story, folder) as address:
                for view in views:
                    save(take(browser, address, view), HERE / f"{view.name}.png")
        browser.close()


if __name__ == "__main__":
    main()
