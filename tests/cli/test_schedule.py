"""`perfkit schedule`: what it shows, writes, puts into force and takes away."""

from __future__ import annotations

import dataclasses
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest

from perfkit.config.pipelines import PipelineSettings, read_pipelines

NIGHTLY = """\
[pipelines.nightly]
notebooks = ["20_analysis"]
schedule = "0 3 * * 1-5"
timeout = "30min"
retries = 1
[pipelines.nightly.grid]
goal = ["latency", "memory"]
"""
SYSTEMCTL = """\
#!/bin/sh
echo "$@" >> "$TEST_FOLDER/calls"
[ ! -e "$TEST_FOLDER/broken" ] || { echo 'Failed to connect to bus' >&2; exit 1; }
"""
CRONTAB = """\
#!/bin/sh
kept="$TEST_FOLDER/kept"
[ ! -e "$TEST_FOLDER/broken" ] || { echo 'crontab: you may not' >&2; exit 1; }
case "$1" in
-l) [ -e "$kept" ] || { echo "no crontab for $USER" >&2; exit 1; }; cat "$kept" ;;
-) cat > "$kept" ;;
*) exit 2 ;;
esac
"""


def write_notebook(path: Path, parameters: str) -> None:
    cells = [
        nbformat.v4.new_markdown_cell("# Who is there?"),
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("print('here')"),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a pipeline, on a machine whose systemd and cron write down what they are told."""
    (tmp_path / "notebooks").mkdir()
    write_notebook(
        tmp_path / "notebooks" / "20_analysis.ipynb", "goal = 'latency'  # what is cheap\nlake_path = ''  # where"
    )
    (tmp_path / "perfkit.toml").write_text(NIGHTLY)
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, script in (("systemctl", SYSTEMCTL), ("crontab", CRONTAB)):
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("TEST_FOLDER", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("WSL_DISTRO_NAME", raising=False)
    return tmp_path


def test_nothing_is_changed_by_looking(perfkit, project: Path) -> None:
    before = sorted(project.rglob("*"))
    shown = perfkit("schedule", "nightly", "--systemd").stdout
    assert sorted(project.rglob("*")) == before
    assert "# ~/.config/systemd/user: perfkit-nightly.timer" in shown
    assert "OnCalendar=Mon..Fri *-*-* 03:00:00" in shown
    assert "#   systemctl --user enable --now perfkit-nightly.timer" in shown
    assert "# Next: " in shown
    plain = perfkit("schedule", "nightly", "--systemd", "--json").json()
    assert [file["name"] for file in plain["files"]] == ["perfkit-nightly.timer", "perfkit-nightly.service"]
    assert (plain["schedule"], plain["kind"], len(plain["next"])) == ("0 3 * * 1-5", "systemd", 3)
    # Waiting an hour, one notebook at two points twice for half an hour and half a minute each, ten minutes to spare.
    assert "TimeoutStartSec=11520" in plain["files"][1]["text"]


def test_the_kind_is_what_the_machine_has(perfkit, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kind() -> str:
        return str(perfkit("schedule", "nightly", "--json").json()["kind"])

    assert kind() == "systemd"
    (project / "broken").touch()
    assert kind() == "crontab"
    monkeypatch.setenv("WSL_DISTRO_NAME", "Debian")
    assert kind() == "windows"


def test_files_are_written_and_others_left_alone(perfkit, project: Path) -> None:
    assert perfkit("schedule", "nightly", "--systemd", "--output", "units").exit_code == 0
    timer = project / "units" / "perfkit-nightly.timer"
    written = timer.read_text()
    again = perfkit("schedule", "nightly", "--systemd", "--output", "units", "--json").json()
    assert {change["state"] for change in again["changes"]} == {"unchanged"}
    timer.write_text("mine")
    refused = perfkit("schedule", "nightly", "--systemd", "--output", "units")
    assert refused.exit_code == 2
    assert "units/perfkit-nightly.timer exists and says something else" in refused.stderr
    assert timer.read_text() == "mine"
    assert perfkit("schedule", "nightly", "--systemd", "--output", "units", "--force").exit_code == 0
    assert timer.read_text() == written
    assert perfkit("schedule", "nightly", "--windows", "--output", "units").exit_code == 0
    assert (project / "units" / "perfkit-nightly.xml").read_bytes()[:2] in (b"\xff\xfe", b"\xfe\xff")
    assert sorted(path.name for path in (project / "units").iterdir()) == [
        "perfkit-nightly.service",
        "perfkit-nightly.timer",
        "perfkit-nightly.xml",
    ]


def test_a_timer_comes_into_force_and_goes_again(perfkit, project: Path) -> None:
    units = project / "config" / "systemd" / "user"
    assert perfkit("schedule", "nightly", "--systemd", "--install").exit_code == 0
    assert sorted(path.name for path in units.iterdir()) == ["perfkit-nightly.service", "perfkit-nightly.timer"]
    calls = (project / "calls").read_text().splitlines()
    assert calls[-2:] == ["--user daemon-reload", "--user enable --now perfkit-nightly.timer"]
    (project / "perfkit.toml").write_text("")  # a pipeline that is gone can still be taken out of force
    removed = perfkit("schedule", "nightly", "--systemd", "--remove", "--json").json()
    assert {change["state"] for change in removed["changes"]} == {"removed"}
    assert list(units.iterdir()) == []
    assert "--user disable --now perfkit-nightly.timer" in (project / "calls").read_text()
    again = perfkit("schedule", "nightly", "--systemd", "--remove")
    assert again.exit_code == 0
    assert again.stdout.count("not there: ") == 2


def test_another_projects_timer_is_not_removed(perfkit, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    perfkit("schedule", "nightly", "--systemd", "--install")
    other = project / "other"
    shutil.copytree(project / "notebooks", other / "notebooks")
    monkeypatch.chdir(other)
    refused = perfkit("schedule", "nightly", "--systemd", "--remove")
    assert refused.exit_code == 2
    assert "belongs to another folder than" in refused.stderr
    assert perfkit("schedule", "nightly", "--systemd", "--remove", "--force").exit_code == 0


def test_where_systemd_does_not_answer_nothing_is_written(perfkit, project: Path) -> None:
    (project / "broken").touch()
    failed = perfkit("schedule", "nightly", "--systemd", "--install")
    assert failed.exit_code == 1
    assert "systemctl --user show-environment: Failed to connect to bus" in failed.stderr
    assert not (project / "config").exists()


def test_a_line_joins_the_crontab_and_leaves_the_others(perfkit, project: Path) -> None:
    mine = "MAILTO=me\n5 4 * * * backup\n"
    (project / "kept").write_text(mine)
    assert perfkit("schedule", "nightly", "--crontab", "--install").exit_code == 0
    kept = (project / "kept").read_text()
    assert kept.startswith(mine)
    assert f"\n0 3 * * 1-5 cd {project} && " in kept
    assert perfkit("schedule", "nightly", "--crontab", "--install", "--json").json()["changes"] == [
        {"place": "crontab", "state": "unchanged"}
    ]
    (project / "perfkit.toml").write_text(NIGHTLY.replace("0 3", "0 4"))
    refused = perfkit("schedule", "nightly", "--crontab", "--install")
    assert refused.exit_code == 2
    assert "your crontab has another line for 'nightly'" in refused.stderr
    assert perfkit("schedule", "nightly", "--crontab", "--install", "--force").exit_code == 0
    assert (project / "kept").read_text() == kept.replace("0 3 * * 1-5", "0 4 * * 1-5")
    assert perfkit("schedule", "nightly", "--crontab", "--remove").stdout == "removed: crontab\n"
    assert (project / "kept").read_text() == mine
    assert perfkit("schedule", "nightly", "--crontab", "--remove").stdout == "not there: crontab\n"


def test_only_perfkits_own_line_is_replaced_or_removed(perfkit, project: Path) -> None:
    """Lines before, behind and between, also such as Python but not cron takes for two, or as are no UTF-8."""
    assert perfkit("schedule", "nightly", "--crontab", "--install").exit_code == 0
    ours = (project / "kept").read_bytes()
    above = b"PERFKIT_SMTP_PASSWORD=a\x0cb\xe2\x80\xa8c\r\n# caf\xe9, no UTF-8\n# " + ours  # also one commented out
    below = b"0 1 * * * /usr/bin/backup\n0 2 * * * cd /srv && python -m perfkit run nightly\n"
    other = ours.replace(b", in /", b", in /other/")
    (project / "kept").write_bytes(above + ours + below + other + ours)
    (project / "perfkit.toml").write_text(NIGHTLY.replace("0 3", "0 4"))
    assert perfkit("schedule", "nightly", "--crontab", "--install", "--force").exit_code == 0
    assert (project / "kept").read_bytes() == above + ours.replace(b"0 3", b"0 4") + below + other
    assert perfkit("schedule", "nightly", "--crontab", "--remove").stdout == "removed: crontab\n"
    assert (project / "kept").read_bytes() == above + below + other
    assert perfkit("schedule", "nightly", "--crontab", "--remove").stdout == "not there: crontab\n"


def test_a_crontab_that_cannot_be_read_is_not_replaced(perfkit, project: Path) -> None:
    (project / "kept").write_text("5 4 * * * backup\n")
    (project / "broken").touch()
    failed = perfkit("schedule", "nightly", "--crontab", "--install")
    assert failed.exit_code == 1
    assert failed.stderr == "perfkit: crontab -l: crontab: you may not\n"
    assert (project / "kept").read_text() == "5 4 * * * backup\n"
    (project / "broken").unlink()
    (project / "kept").unlink()  # none yet
    assert perfkit("schedule", "nightly", "--crontab", "--install").exit_code == 0


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nigthly"], "unknown pipeline 'nigthly'; allowed: default, quick, full, tune, analyse, ab, regressions, "),
        (["analyse"], "pipeline 'analyse' has no schedule; add schedule = '0 3 * * *' to [pipelines.analyse]"),
        (["analyse", "--at", "0 25 * * *"], "schedule == '0 25 * * *': hour '25'; must be 0 to 23"),
        (["nightly", "--at", "0 3 * * *"], "has the schedule '0 3 * * 1-5' in perfkit.toml; change it there"),
        (["tune", "--at", "0 3 * * *"], "30_tune"),
        (["nightly", "--install", "--output", "units"], "--output and --install exclude each other"),
        (["nightly", "--windows", "--install"], "write it with --output FOLDER, then run there: schtasks.exe /create"),
        (["nightly", "--windows", "--remove"], "run there: schtasks.exe /delete /tn perfkit-nightly"),
        (["../x", "--systemd", "--remove"], "pipeline '../x' cannot be scheduled under this name"),
        (["nightly", "--test-notify"], "pipeline 'nightly' notifies nobody; add [pipelines.nightly.notify]"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(perfkit, arguments: list[str], told: str) -> None:
    refused = perfkit("schedule", *arguments)
    assert refused.exit_code == 2
    assert told in refused.stderr


def test_a_built_in_pipeline_gets_a_schedule_by_hand(perfkit, project: Path) -> None:
    (project / "perfkit.toml").unlink()
    plain = perfkit("schedule", "analyse", "--at", "*/30 * * * *", "--crontab", "--json").json()
    assert plain["files"][0]["text"].startswith("*/30 * * * * cd ")


def test_check_finds_a_schedule_that_cannot_be_read(perfkit, project: Path) -> None:
    assert perfkit("check").exit_code == 0
    (project / "perfkit.toml").write_text(NIGHTLY.replace("0 3 * * 1-5", "0 3 32 * *"))
    refused = perfkit("check")
    assert refused.exit_code == 2
    told = "perfkit.toml:3:1: pipelines.nightly.schedule == '0 3 32 * *': day-of-month '32'; must be 1 to 31"
    assert told in refused.stderr


def test_a_test_message_is_sent(perfkit, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "*")
    with http.server.HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}/hook"
        (project / "perfkit.toml").write_text(f'{NIGHTLY}[pipelines.nightly.notify]\nwebhook = "{address}"\n')
        assert perfkit("schedule", "nightly", "--test-notify").stdout == "sent; look whether it arrived\n"
        thread.join()
    assert [message["events"] for message in got] == [["test"]]
    failed = perfkit("schedule", "nightly", "--test-notify", "--json")
    assert failed.exit_code == 1
    assert failed.json()["sent"] is False
    assert "could not be reached" in failed.json()["problems"][0]


def test_a_line_of_cron_runs_a_pipeline(project: Path, tmp_path: Path) -> None:
    """The real thing: what `perfkit schedule` shows, through a shell as cron calls it, until there is a report."""
    place = tmp_path / "it's 100% mine"
    shutil.copytree(project / "notebooks", place / "notebooks")
    (place / "perfkit.toml").write_text('[pipelines.hello]\nnotebooks = ["hello"]\nschedule = "* * * * *"\n')
    write_notebook(place / "notebooks" / "hello.ipynb", "name = 'nobody'  # who")
    command = [sys.executable, "-m", "perfkit", "schedule", "hello", "--crontab", "--json"]
    shown = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True).stdout
    line = json.loads(shown.splitlines()[-1])["files"][0]["text"].rstrip("\n")
    given = line.split(maxsplit=5)[5]
    assert "%" not in given.replace("\\%", "")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SHELL": "/bin/sh"}
    subprocess.run(["/bin/sh", "-c", given.replace("\\%", "%")], cwd="/", env=environment, check=True, timeout=60)
    run = json.loads((place / "reports" / "latest" / "run.json").read_text())
    assert (run["pipeline"], run["status"], run["started_by"]) == ("hello", "complete", "schedule")
    assert "complete after" in (place / "reports" / "hello.log").read_text()


def test_shown_times_are_ahead(perfkit, project: Path) -> None:
    shown = perfkit("schedule", "nightly", "--json").json()["next"]
    assert shown == sorted(shown)
    assert shown[0] > time.strftime("%Y-%m-%dT%H:%M")


def test_the_commented_pipeline_of_the_template_works(perfkit, project: Path) -> None:
    assert perfkit("init", "--force").exit_code == 0
    path = project / "perfkit.toml"
    before, begin, rest = path.read_text().partition("# [pipelines.nightly]\n")
    uncommented = "".join(
        line.removeprefix("# ").removeprefix("#") for line in (begin + rest).splitlines(keepends=True)
    )
    path.write_text(before + uncommented)
    assert perfkit("check").exit_code == 0
    settings = read_pipelines(path)["nightly"]
    defaults = PipelineSettings(("some",))
    for field in dataclasses.fields(PipelineSettings):
        if field.name != "keep_runs":  # it stands in a comment behind `keep`
            assert getattr(settings, field.name) != getattr(defaults, field.name) or field.name == "timeout_s"
