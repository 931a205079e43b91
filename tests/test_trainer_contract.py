"""The contract of every installed trainer, as it is shipped."""

from harness.testing.test_trainer_contract import *  # noqa: F403
