"""How papermill executes a notebook for a report: timed by a clock that nobody sets, its output kept within limits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nbclient.exceptions import DeadKernelError
from nbformat.v4 import output_from_msg
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.iorw import LocalHandler, papermill_io

from perfkit.report.running.output_limit import OutputLimit
from perfkit.report.whole_files import write_whole

__all__ = ["ENGINE", "KernelEnded", "KernelNotStarted", "Watched", "use_engine"]

ENGINE = "perfkit"
_LEAVE_QUICKLY = "__import__('atexit').register(__import__('gc').freeze)"
"""Run by the kernel as it starts. At its end Python looks once more for garbage among all that libraries have made,
which takes half a second with altair; everything goes anyway, a moment later."""

_OUTPUT_WAIT_S = 120
"""How long outputs may follow the end of a cell: a hundred megabytes take a while to arrive."""


class KernelEnded(Exception):
    """The kernel's process ended by itself, or was ended, in the middle of a cell."""

    def __init__(self, cell: int, exit_code: int | None) -> None:
        super().__init__(f"the kernel ended in cell {cell} with exit code {exit_code}")
        self.cell, self.exit_code = cell, exit_code


class KernelNotStarted(Exception):
    """There is no kernel to execute the notebook with."""

    def __init__(self, error: Exception) -> None:
        super().__init__(
            f"its kernel (python3) could not be started: {error}; `jupyter kernelspec list` says where it comes from, "
            "`python -m ipykernel install --sys-prefix` installs it anew"
        )


class Watched:
    """What is known of the notebook under way.

    Args:
        when_complete: called once every cell has succeeded and `target` is written, before the kernel is shut down.
    """

    def __init__(self, when_complete: Callable[[], None]) -> None:
        self.own_seconds = 0.0
        self.limit = OutputLimit()
        self.when_complete = when_complete


class _Client(PapermillNotebookClient):  # type: ignore[misc]
    watched: Watched
    clear_before_next_output: bool

    def start_new_kernel(self, **options: Any) -> None:
        with _kernel_needed():
            super().start_new_kernel(**options)

    def start_new_kernel_client(self, **options: Any) -> Any:
        with _kernel_needed():
            return super().start_new_kernel_client(**options)

    def papermill_execute_cells(self) -> None:
        super().papermill_execute_cells()
        outputs = [output for cell in self.nb.cells for output in cell.get("outputs", ())]
        if not any(output.output_type == "error" for output in outputs):
            self.set_widgets_metadata()
            self.nb_man.notebook_complete()
            self.watched.when_complete()

    def execute_cell(self, cell: Any, cell_index: int, **options: Any) -> Any:
        began = time.monotonic()
        try:
            return super().execute_cell(cell, cell_index, **options)
        except (DeadKernelError, KeyboardInterrupt) as ended:
            self.nb_man.cell_exception(cell, cell_index=cell_index)  # or papermill would call it completed
            if isinstance(ended, KeyboardInterrupt):
                raise
            process = getattr(getattr(self.km, "provisioner", None), "process", None)
            raise KernelEnded(self._number(cell_index), None if process is None else process.poll()) from None
        finally:
            self.watched.own_seconds += time.monotonic() - began

    def output(self, outs: list[Any], msg: dict[str, Any], display_id: str | None, cell_index: int) -> Any:
        if self.output_hook_stack[msg["parent_header"].get("msg_id")]:
            return super().output(outs, msg, display_id, cell_index)
        if self.clear_before_next_output:
            outs.clear()
            self.clear_display_id_mapping(cell_index)
            self.clear_before_next_output = False
        try:
            output = output_from_msg(msg)  # type: ignore[no-untyped-call]
        except ValueError:
            return None
        if display_id:
            self._display_id_map.setdefault(display_id, {}).setdefault(cell_index, []).append(len(outs))
        return self.watched.limit.add(outs, output, self._number(cell_index))

    def _number(self, cell_index: int) -> int:
        """A cell as people know it: the number in its brackets."""
        return sum(cell.cell_type == "code" for cell in self.nb.cells[: cell_index + 1])


def use_engine(target: Path, watched: Watched) -> None:
    """Make papermill execute with this engine (`ENGINE`), and write `target` so that it is whole at any moment.

    Args:
        target: the executed notebook.
        watched: keeps what is known of the notebook.
    """

    class Engine(NBClientEngine):  # type: ignore[misc]
        @classmethod
        def execute_managed_notebook(
            cls, nb_man: Any, kernel_name: str, start_timeout: float = 60.0, **options: Any
        ) -> Any:
            places = nb_man.nb.metadata.papermill
            places.input_path, places.output_path = (Path(places[name]).name for name in ("input_path", "output_path"))
            client = _Client(
                nb_man,
                kernel_name=kernel_name,
                startup_timeout=start_timeout,
                iopub_timeout=_OUTPUT_WAIT_S,
                extra_arguments=[f"--IPKernelApp.exec_lines={_LEAVE_QUICKLY}"],
                config=options["config"],
            )
            client.watched = watched
            return client.execute()

    papermill_engines.register(ENGINE, Engine)
    papermill_io.register(str(target), _WholeFiles())


@contextlib.contextmanager
def _kernel_needed() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise KernelNotStarted(error) from error


class _WholeFiles(LocalHandler):  # type: ignore[misc]
    def write(self, buf: str, path: str) -> None:
        write_whole(Path(path), buf, durable=False)  # several times a cell; the last one is soon on the disk
