import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import Locked, StorageError
from harness.records import run_folder


def test_a_second_owner_is_told_who_has_the_folder(tmp_path):
    with run_folder.exclusive_use(tmp_path):
        code = (
            "from harness.records.run_folder import exclusive_use\nfrom pathlib import Path\n"
            f"with exclusive_use(Path({str(tmp_path)!r})): pass"
        )
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert f"another run (process {os.getpid()}) is using" in second.stderr
    with run_folder.exclusive_use(tmp_path):
        pass  # free again


def test_a_lock_left_by_a_killed_process_does_not_hold(tmp_path):
    (tmp_path / "lock").write_text("999999")
    with run_folder.exclusive_use(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
        with pytest.raises(Locked, match="another run"), run_folder.exclusive_use(tmp_path):
            pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write to .*file/x: Not a directory"):
        run_folder.ensure_writable(tmp_path / "file" / "x")


def test_too_little_space_is_refused_with_both_figures(tmp_path):
    with pytest.raises(StorageError, match=r"GB free, this run needs about 1000000.00 GB"):
        run_folder.enough_space(tmp_path, 10**15)


def test_a_full_disk_becomes_one_clear_error_and_other_errors_pass():
    def full():
        with Path("/dev/full").open("w") as file:
            file.write("x" * 100_000)

    with (
        pytest.raises(StorageError, match=r"is full .* everything finished is kept"),
        run_folder.full_disk_is_named(Path()),
    ):
        full()
    with pytest.raises(OSError, match="other") as caught, run_folder.full_disk_is_named(Path()):
        raise OSError(errno.EIO, "other")
    assert not isinstance(caught.value, StorageError)
