"""A kernel lock on PyTorch's lock file for building C++ extensions, so that a killed process releases it.

DeepSpeed builds its operators when a run begins, through torch.utils.cpp_extension, which treats the existence of a
file as the lock. A process killed at that moment leaves the file behind, and every later run on the machine would hang silently.
"""

import contextlib
import fcntl
import os

from torch.utils import cpp_extension
from torch.utils.file_baton import FileBaton

from hint_grpo.machine.errors import UserError


class KernelBaton(FileBaton):
    """Same file and methods as PyTorch's, but the kernel knows whether it is held: a leftover file does not block."""

    file: int  # descriptor of the lock file while this process holds it or waits for it

    def try_acquire(self) -> bool:
        """True if this process must build; else call `wait`, then use what was built. UserError if locks do not work."""
        while True:
            self.file = os.open(self.lock_file_path, os.O_CREAT | os.O_RDWR, 0o644)
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError as error:
                os.close(self.file)
                raise UserError(
                    f"{os.path.dirname(self.lock_file_path)} is on a file system without locks ({error}): set "
                    "TORCH_EXTENSIONS_DIR to a folder on a local disk"
                ) from error
            if os.fstat(self.file).st_nlink:
                return True
            os.close(self.file)  # the holder has just removed this file: try again with a new one

    def wait(self) -> None:
        """Waits until the holder has released it or has ended."""
        fcntl.flock(self.file, fcntl.LOCK_SH)
        os.close(self.file)

    def release(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.lock_file_path)  # for processes that only check whether the file exists
        os.close(self.file)


def install() -> None:
    """Uses this lock for every extension that this process loads from now on."""
    cpp_extension.FileBaton = KernelBaton  # type: ignore[misc]
