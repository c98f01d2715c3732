"""Reports that several files of tests read; nobody changes them."""

from pathlib import Path

import pytest

from tests.reported import BROKEN, CONTROLLED, EVERYTHING, FULL, report_of


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_of(tmp_path_factory.mktemp("full"), FULL, "full")


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_of(tmp_path_factory.mktemp("broken"), BROKEN, "broken")


@pytest.fixture(scope="session")
def controlled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_of(tmp_path_factory.mktemp("controlled"), CONTROLLED, "controlled")


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_of(tmp_path_factory.mktemp("everything"), EVERYTHING, "everything")
