"""Put what keeps a schedule where it belongs, and take it away again. What somebody else wrote there stays."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from perfkit.errors import FileError, InputError, ReportError
from perfkit.report.schedule.crontab import entry, is_entry
from perfkit.report.schedule.job import ScheduledJob, Setup, job_name
from perfkit.report.schedule.systemd import working_directory
from perfkit.report.whole_files import write_whole

__all__ = ["Change", "install", "remove", "write_files"]

_COMMAND_S = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What became of one place.

    Args:
        place: a file, or the crontab.
        state: "written", "unchanged", "removed" or "not there".
    """

    place: str
    state: str


def write_files(setup: Setup, folder: Path, *, force: bool = False) -> tuple[Change, ...]:
    """Write the files of a setup, each in one step.

    Args:
        setup: what to write.
        folder: made when it does not exist.
        force: whether files that say something else are replaced.

    Raises:
        InputError: a file says something else; nothing was written.
        FileError: a file cannot be written.
    """
    try:
        states = {folder / file.name: _state(folder / file.name, file.text, file.encoding) for file in setup.files}
        for path, state in states.items():
            if state == "other" and not force:
                raise InputError(f"{path} exists and says something else; it was left as it is, --force replaces it")
        folder.mkdir(parents=True, exist_ok=True)
        for file in setup.files:
            if states[folder / file.name] != "same":
                write_whole(folder / file.name, file.text, encoding=file.encoding)
    except OSError as error:
        advice = "make room or give write permission, or name another folder"
        raise FileError(f"{error.filename or folder} cannot be written: {error.strerror}; {advice}") from error
    return tuple(Change(str(path), "unchanged" if state == "same" else "written") for path, state in states.items())


def install(job: ScheduledJob, setup: Setup, *, force: bool = False) -> tuple[Change, ...]:
    """Put a schedule into force, for this user.

    Args:
        job: what is to be run.
        setup: what keeps its schedule.
        force: whether what says something else is replaced.

    Raises:
        InputError: something else is there, or it has to be done in Windows.
        FileError: a file cannot be written.
        ReportError: systemd or cron refused it, with what they said.
    """
    if setup.kind == "systemd":
        _run(["systemctl", "--user", "show-environment"])  # where nobody answers, nothing is written
        changes = write_files(setup, _units_folder(), force=force)
        _run(["systemctl", "--user", "daemon-reload"])
        _run(["systemctl", "--user", "enable", "--now", f"{job.name}.timer"])
        return changes
    if setup.kind == "crontab":
        return (_change_crontab(job.pipeline, job.project, entry(job), force=force),)
    raise _only_in_windows(f"write it with --output FOLDER, then run there: {setup.commands[0]}")


def remove(pipeline: str, project: Path, kind: str, *, force: bool = False) -> tuple[Change, ...]:
    """Take a schedule out of force, whether perfkit.toml still has it or not.

    Args:
        pipeline: what was to be run.
        project: the folder in which it was to be run.
        kind: one of `KINDS`.
        force: whether what belongs to another project is removed, too.

    Raises:
        InputError: something else is there, or it has to be done in Windows.
        FileError: a file cannot be removed.
        ReportError: systemd or cron refused it, with what they said.
    """
    name = job_name(pipeline)
    if kind == "systemd":
        return _remove_units(name, project, force=force)
    if kind == "crontab":
        return (_change_crontab(pipeline, project, "", force=True),)
    raise _only_in_windows(f"run there: schtasks.exe /delete /tn {name}")


def _remove_units(name: str, project: Path, *, force: bool) -> tuple[Change, ...]:
    paths = [_units_folder() / f"{name}.{kind}" for kind in ("timer", "service")]
    there = [path for path in paths if path.exists()]
    ours = working_directory(project)
    if paths[1] in there and ours not in paths[1].read_text(encoding="utf-8").splitlines() and not force:
        raise InputError(f"{paths[1]} belongs to another folder than {project}; --force removes it all the same")
    if there:
        _run(["systemctl", "--user", "disable", "--now", f"{name}.timer"])
        try:
            for path in there:
                path.unlink()
        except OSError as error:
            raise FileError(f"{error.filename} cannot be removed: {error.strerror}; give write permission") from error
        _run(["systemctl", "--user", "daemon-reload"])
    return tuple(Change(str(path), "removed" if path in there else "not there") for path in paths)


def _change_crontab(pipeline: str, project: Path, line: str, *, force: bool) -> Change:
    text = _run(["crontab", "-l"], fine=("no crontab", "No such file"))
    before = text.removesuffix("\n").split("\n") if text else []  # splitlines() would cut others' lines, too
    found = [number for number, one in enumerate(before) if is_entry(one, pipeline, project)]
    if [before[number] for number in found] == ([line] if line else []):
        return Change("crontab", "unchanged" if line else "not there")
    if found and not force:
        raise InputError(
            f"your crontab has another line for {pipeline!r} in {project}; it was left as it is, --force replaces it"
        )
    after = [one for number, one in enumerate(before) if number not in found]
    if line:
        after.insert(found[0] if found else len(after), line)
    _run(["crontab", "-"], given="".join(f"{one}\n" for one in after))
    return Change("crontab", "written" if line else "removed")


def _run(command: Sequence[str], *, given: str = "", fine: Sequence[str] = ()) -> str:
    """What a command prints; nothing where it failed with words that are fine."""
    words = " ".join(command)
    environment = {**os.environ, "LC_ALL": "C"}  # so that its words are known
    try:
        # As bytes: what somebody else wrote keeps its ends of lines and need not be UTF-8.
        ended = subprocess.run(
            command, input=os.fsencode(given), capture_output=True, timeout=_COMMAND_S, env=environment
        )
    except FileNotFoundError:
        raise ReportError(
            f"{words}: there is no {command[0]} on this machine; choose another kind of schedule"
        ) from None
    except subprocess.TimeoutExpired:
        raise ReportError(f"{words}: no answer within {_COMMAND_S:g} s") from None
    if ended.returncode == 0:
        return os.fsdecode(ended.stdout)
    problem = ended.stderr.decode(errors="replace").strip()
    if any(one in problem for one in fine):
        return ""
    raise ReportError(f"{words}: {problem or f'exit code {ended.returncode}'}")


def _state(path: Path, text: str, encoding: str) -> str:
    try:
        return "same" if path.read_bytes() == text.encode(encoding) else "other"
    except FileNotFoundError:
        return "absent"


def _units_folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def _only_in_windows(advice: str) -> InputError:
    return InputError(f"the tasks of Windows are changed in Windows only; {advice}")
