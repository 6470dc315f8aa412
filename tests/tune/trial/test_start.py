"""What runs at the start of every Python process of a trial."""

import subprocess
import sys

from lightning_lr.tune.trial.spec import Spec
from lightning_lr.tune.workers.process import environment


def run(folder, code, env):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_a_sitecustomize_of_the_users_runs_as_well(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.is_there = 'yes'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    env = environment(Spec("trial", lr=0.1))

    assert run(tmp_path, "import sys; print(sys.is_there, type(sys.meta_path[0]).__name__)", env) == [
        "yes",
        "_OnImport",
    ]


def test_nothing_is_imported_before_the_script(tmp_path):
    code = "import sys; print(*(sys.modules.keys() & {'torch', 'numpy', 'lightning', 'lightning_lr'}))"

    assert run(tmp_path, code, environment(Spec("trial", lr=0.1))) == []


def test_the_package_is_found_where_it_is_not_installed(tmp_path):
    code = "import importlib.util as u; print(u.find_spec('lightning_lr') is not None)"
    env = environment(Spec("trial", lr=0.1))

    assert run(tmp_path, code, env) == ["True"]
