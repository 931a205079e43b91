"""The contract of every installed task, as it is shipped."""

from harness.testing.test_task_contract import *  # noqa: F403
