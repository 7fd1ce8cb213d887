"""With CI=true a skipped test is a failure (tests/ci_rule.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RULE = Path(__file__).parents[1] / "ci_rule.py"

SKIPPED = {
    "mark": "import pytest\n@pytest.mark.skip(reason='by a mark')\ndef test_it(): pass\n",
    "call": "import pytest\ndef test_it(): pytest.skip('by a call')\n",
    "fixture": "import pytest\n@pytest.fixture\ndef f(): pytest.skip('by a fixture')\ndef test_it(f): pass\n",
    "module": "import pytest\npytest.skip('by a module', allow_module_level=True)\n",
}
XFAIL = "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n"


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text(RULE.read_text())
    for name, source in SKIPPED.items():
        (tmp_path / f"test_{name}.py").write_text(source)
    (tmp_path / "test_xfail.py").write_text(XFAIL)
    return tmp_path


def run_pytest(folder, ci):
    env = {name: value for name, value in os.environ.items() if name not in {"CI", "PYTEST_ADDOPTS"}}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    return subprocess.run(command, env=env | ci, capture_output=True, text=True, check=False, cwd=folder)


def test_however_a_test_is_skipped_it_fails_on_ci_and_an_expected_failure_does_not(suite):
    result = run_pytest(suite, {"CI": "true"})
    assert result.returncode != 0
    assert "1 failed, 1 xfailed, 3 errors" in result.stdout, result.stdout
    for name in SKIPPED:
        assert f"a skipped test is a failure here, as CI=true: Skipped: by a {name}" in result.stdout


def test_elsewhere_a_test_may_be_skipped(suite):
    result = run_pytest(suite, {})
    assert result.returncode == 0, result.stdout
    assert "4 skipped, 1 xfailed" in result.stdout
