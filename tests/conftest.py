"""Settings all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from vllm_faults import FaultyEngine

pytest.register_assert_rewrite("harness.testing")  # its tests are imported by tests here
sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Files that take half a minute or more, the longest first: whichever began last would be waited for by one core alone.
LONGEST = (
    *("test_compare", "test_stock_tasks", "test_trainer_contract", "test_contributing", "test_model_folder"),
    *("test_openai_engine", "test_math_answers", "test_sandbox", "test_eval", "test_task_contract", "test_inspect_log"),
    *("test_static_tasks", "test_vllm_swap", "test_gate", "test_html_page", "test_code_grader", "test_cli"),
    *("test_pico", "test_engines", "test_replay", "test_ci_gate"),
)
ONE_VLLM = ("test_vllm_swap", "test_engines")  # share `vllm_engine`: a start takes 20 seconds of CPU


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; all others as they come."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


class _TogetherByFile(LoadFileScheduling):
    """The tests of a file run in one process, and so do those of ONE_VLLM."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return ONE_VLLM[0] if Path(file).stem in ONE_VLLM else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFileScheduling:
    return _TogetherByFile(config, log)


@pytest.fixture(scope="session")
def vllm_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyEngine]:
    """The shipped engine while no fault is planted. Every file of ONE_VLLM loads what it needs."""
    from vllm_faults import FaultyEngine

    from harness.engines.opening import vllm_problem

    if why := vllm_problem():
        pytest.skip(why)
    with FaultyEngine(tmp_path_factory.mktemp("faulty")) as engine:
        yield engine
