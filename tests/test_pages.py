"""README and the pages of `examples`: every block of code that they show is run, as a reader would."""

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import apart
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[1]
TRANSFORMERS = (
    pytest.mark.libraries,
    pytest.mark.skipif(find_spec("transformers") is None, reason="needs `pip install -e '.[libraries]'`"),
)
# A heading, or the language and the code of a block.
BLOCKS = re.compile(r"^#+ ([^\n]+)$|^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md"))]


def blocks(language):
    """Return all blocks of code of one language, each as (page, the heading above it, the code)."""
    found = []
    for page in PAGES:
        heading = page.stem
        for line, name, code in BLOCKS.findall(page.read_text()):
            heading = line or heading
            if name == language and ">>>" not in code:
                found.append((page, heading, code))
    return found


def named(blocks):
    """Return the blocks as parameters that are called by their page and heading."""
    return [
        pytest.param(
            code,
            id=f"{page.relative_to(ROOT)}: {heading}",
            marks=TRANSFORMERS if "from transformers" in code else (),
        )
        for page, heading, code in blocks
    ]


@pytest.fixture
def folder(tmp_path):
    """Return a copy of the folder that the pages tell to be in."""
    ignored = shutil.ignore_patterns("__pycache__", "*.png", "logs", "lightning_logs")
    return Path(shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=ignored))


@pytest.mark.parametrize("code", named(blocks("python")))
def test_code_runs_as_it_stands(code, folder):
    (folder / "page.py").write_text(code)

    run = apart.run(folder / "page.py", cwd=folder, limit=300)

    assert run.returncode == 0, run.stderr
    assert ("Trainer.fit` stopped" in run.stderr) == (".fit(" in code)


@pytest.mark.parametrize("code", named(blocks("yaml")))
def test_a_configuration_trains(code, folder):
    (folder / "run.yaml").write_text(code)

    run = apart.run(folder / "digits.py", "fit", "--config", "run.yaml", cwd=folder, limit=300)

    assert run.returncode == 0, run.stderr
    assert "LRRangeTest: LR 0.001 -> " in run.stderr
    [log_dir] = re.findall(r"LRLogger: best validation loss .* Logs: (.+)\n", run.stderr)
    lrs = [point.value for point in EventAccumulator(str(folder / log_dir)).Reload().Scalars("LR/AdamW")]
    assert lrs[-1] < 0.01 * max(lrs)  # the cosine has gone down


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, id=f"{page.relative_to(ROOT)}: {line}")
        for page, _, code in blocks("sh")
        for line in code.splitlines()
        if page.name == "README.md" and line.startswith("python ")
    ],
)
def test_a_command_works(line, folder):
    [(_, _, config)] = blocks("yaml")
    (folder / "run.yaml").write_text(config)
    # Shorter than a reader would have it.
    command = [*line.replace("--trials 8", "--trials 2").split()[1:], "--trainer.max_epochs=1"]
    command = command[1:] if command[0] == "-m" else [folder / command[0], *command[1:]]

    run = apart.run(*command, cwd=folder, limit=300)

    assert run.returncode == 0, run.stderr


def test_links_lead_somewhere():
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#:]*)(#[^)]*)?\)", page.read_text()):
            path = page.parent / target if target else page
            assert path.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", path.read_text(), flags=re.MULTILINE)
                slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
                assert anchor[1:] in slugs, f"{page.name}: {anchor}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
