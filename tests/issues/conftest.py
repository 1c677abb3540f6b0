"""Regression tests: one test a bug that was found and fixed. They use the harness of tests/e2e.

Run: pytest -q tests/issues
"""
import importlib.util
import sys
from pathlib import Path

E2E = Path(__file__).resolve().parents[1] / "e2e"
sys.path.insert(0, str(E2E))

# By its path: two files are called conftest.
spec = importlib.util.spec_from_file_location("e2e_conftest", E2E / "conftest.py")
e2e_conftest = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = e2e_conftest
spec.loader.exec_module(e2e_conftest)

from e2e_conftest import *  # noqa: E402, F403  fixtures and hooks
