"""Settings all tests share."""

import os
import sys
from pathlib import Path

import pytest

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


def pytest_collection_modifyitems(items):
    """The longest files first; all others as they come."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
