"""PyTorch's lock on a C++ extension that is being built, held by the kernel, so that it ends with its process.

DeepSpeed builds its operators when a run begins, through torch.utils.cpp_extension, which locks by the existence of a file.
A process that is killed in that moment leaves the file, and every later run on the machine would wait for it without a word.
"""

import contextlib
import fcntl
import os

from torch.utils import cpp_extension
from torch.utils.file_baton import FileBaton

from hint_grpo.machine.errors import UserError


class KernelBaton(FileBaton):
    """Same file, same methods; whether it is held is the kernel's word. A file that nobody holds is taken over."""

    file: int  # descriptor of the lock file while this process holds it or waits for it

    def try_acquire(self) -> bool:
        """True where this process is to build; else `wait`, then use what was built. UserError where locks do not work."""
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
            os.close(self.file)  # its holder has just removed the file: the next one has a new file

    def wait(self) -> None:
        """Until the holder has released it, or is gone."""
        fcntl.flock(self.file, fcntl.LOCK_SH)
        os.close(self.file)

    def release(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.lock_file_path)  # for processes that go by the file's existence
        os.close(self.file)


def install() -> None:
    """For every extension that this process loads from now on."""
    cpp_extension.FileBaton = KernelBaton  # type: ignore[misc]
