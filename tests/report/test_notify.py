"""People hear of a run over a real webhook and a real SMTP server, and a broken channel never harms the run."""

from __future__ import annotations

import contextlib
import dataclasses
import email
import email.message
import email.policy
import http.server
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from perfkit.config.pipelines import EmailSettings, NotifySettings
from perfkit.report import NotebookResult, PipelineResult
from perfkit.report.notebook.records import Record
from perfkit.report.notify import notify_about, send_test, telling, webhook
from perfkit.report.results import write_run

HOST = socket.gethostname()
ALL = ("failure", "recovery", "verdict", "success")
MakeRun = Callable[..., PipelineResult]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(webhook, "_PAUSES_S", (0.01, 0.01))


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(number: int, status: str = "complete", verdict: str = "", error: str = "", **more: Any) -> PipelineResult:
        run_id = f"2026112{number}T030000Z-abcd"
        records = (Record("regret", 1.5, 1.0, 2.0, "%", verdict),) if verdict else ()
        notebooks = (
            NotebookResult("20_analysis", "complete", records=records),
            NotebookResult("30_tune", status, error=error),
            *((NotebookResult("40_more", "not run"),) if status != "complete" else ()),
        )
        run = PipelineResult(
            run_id=run_id,
            pipeline="nightly",
            status=status,
            started_at=f"2026-11-2{number}T03:00:00+00:00",
            seconds=61.5,
            report_path=tmp_path / "reports" / run_id,
            thresholds_path=tmp_path / "thresholds.toml",
            published_version=None,
            parameters={},
            git_revision="",
            notebooks=notebooks,
            started_by="schedule",
        )
        return dataclasses.replace(run, **more)

    return make


class Receiver(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A webhook that gives the answers that it is told to, the last one again and again, and keeps what it got."""

    daemon_threads = True

    def __init__(self, answers: Sequence[int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.got: list[dict[str, Any]] = []
        self.ended = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hooks/secret-token"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(json.loads(body))
        answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        if answer == 0:
            self.server.ended.wait(20)  # never answers
            return
        self.send_response(answer)
        if 300 <= answer < 400:
            self.send_header("Location", "file:///etc/passwd")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        raise AssertionError("a message arrived as a GET request")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def receiving(*answers: int) -> Iterator[Receiver]:
    with Receiver(answers) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.ended.set()
            receiver.shutdown()
            thread.join()


class Mailbox:
    """What an SMTP server took, and who logged in."""

    def __init__(self) -> None:
        self.envelopes: list[Any] = []
        self.logins: list[tuple[bytes, bytes]] = []

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        if address.startswith("gone@"):
            return "550 no such person"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        return "250 OK"

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"correct horse", handled=False)

    def only(self) -> email.message.EmailMessage:
        (envelope,) = self.envelopes
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, email.message.EmailMessage)
        return message


@contextlib.contextmanager
def mail_server(**options: Any) -> Iterator[tuple[Mailbox, str]]:
    mailbox = Mailbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if "tls_context" in options:
        options |= {"authenticator": mailbox.authenticate, "auth_required": True}
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield mailbox, f"localhost:{port}"
    finally:
        controller.stop()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def by_email(server: str, **more: Any) -> NotifySettings:
    settings = EmailSettings(("Team <team@example.com>",), "perfkit@example.com", server, **more)
    return NotifySettings(ALL, email=settings)


def test_a_failure_says_everything_in_one_line_and_nothing_of_the_machine(make_run: MakeRun) -> None:
    error = "ValueError: bad '/home/ada/my lake/part.parquet' from https://ada:pw@example.com/x\nand <more>"
    with receiving(200) as receiver:
        assert notify_about(make_run(5, "failed", error=error), NotifySettings(webhook=receiver.address), None) == ()
    (got,) = receiver.got
    assert got["events"] == ["failure"]
    told = "ValueError: bad '…/part.parquet' from https://example.com/x and <more>"
    assert got["errors"] == [{"notebook": "30_tune", "error": told}]
    first, _, rest = got["text"].partition("\n")
    assert first.startswith(f"perfkit nightly failed on {HOST}: 30_tune: ValueError: bad")
    assert "&lt;more&gt;" in rest  # or a chat would take it for markup
    assert "1 notebook did not run: 40_more." in rest
    assert got["report"] == "reports/20261125T030000Z-abcd"
    assert (got["pipeline"], got["status"], got["started_by"], got["seconds"]) == (
        "nightly",
        "failed",
        "schedule",
        61.5,
    )
    for secret in ("/home", "ada", "pw", str(make_run(1).report_path.parent)):
        assert secret not in json.dumps(got)


@pytest.mark.parametrize(
    ("run", "earlier", "events"),
    [
        ((5, "timed out"), None, ["failure"]),
        ((5, "interrupted"), None, ["failure"]),  # the host went down while the timer's run was under way
        ((5, "complete", "fine"), None, ["success"]),
        ((5, "complete", "fine"), (4, "complete", "fine"), ["success"]),
        ((5, "complete", "too high"), (4, "complete", "fine"), ["verdict", "success"]),
        ((5, "complete", "fine"), (4, "failed"), ["recovery", "success"]),
        ((5, "complete", "too high"), (4, "lost"), ["recovery", "verdict", "success"]),  # before it, "fine"
    ],
)
def test_what_there_is_to_tell(make_run: MakeRun, run: Any, earlier: Any, events: list[str]) -> None:
    good = make_run(3, "complete", "fine")
    good.report_path.mkdir(parents=True)
    write_run(good)
    (good.report_path.parent / "notes").mkdir()  # somebody else's
    with receiving(200) as receiver:
        settings = NotifySettings(ALL, receiver.address)
        assert notify_about(make_run(*run), settings, earlier and make_run(*earlier)) == ()
    assert [got["events"] for got in receiver.got] == [events]


def test_a_changed_verdict_is_told_with_both_values(make_run: MakeRun) -> None:
    with receiving(200) as receiver:
        settings = NotifySettings(("verdict",), receiver.address)
        assert notify_about(make_run(5, verdict="too high"), settings, make_run(4, verdict="fine")) == ()
    (got,) = receiver.got
    changed = {"notebook": "20_analysis", "name": "regret", "before": "fine", "after": "too high"}
    assert got["changed_verdicts"] == [{**changed, "said": "fine → too high (1.5 %)"}]
    expected = f"perfkit nightly changed a verdict on {HOST}: regret: fine → too high (1.5 %)"
    assert got["text"].startswith(expected + "\n")


def test_only_what_somebody_asked_for_is_told(make_run: MakeRun) -> None:
    with receiving(200) as receiver:
        settings = NotifySettings(("failure", "recovery", "verdict"), receiver.address)
        assert notify_about(make_run(5), settings, make_run(4)) == ()
        person = make_run(5, "interrupted", started_by="person")
        assert notify_about(person, settings, make_run(4)) == ()
    assert receiver.got == []


def test_a_receiver_in_trouble_is_asked_again(make_run: MakeRun) -> None:
    with receiving(500, 503, 200) as receiver:
        assert notify_about(make_run(5), NotifySettings(ALL, receiver.address), None) == ()
    assert len(receiver.got) == 3


@pytest.mark.parametrize(
    ("answer", "attempts", "told"),
    [
        (500, 3, "answered 500 Internal Server Error"),
        (404, 1, "answered 404 Not Found"),
        (302, 1, "answered 302: it has moved; put its new address into perfkit.toml"),
        (307, 1, "answered 307: it has moved; put its new address into perfkit.toml"),
    ],
)
def test_a_refusal_is_told_without_the_secret_of_the_address(
    make_run: MakeRun, answer: int, attempts: int, told: str
) -> None:
    with receiving(answer) as receiver:
        problems = notify_about(make_run(5), NotifySettings(ALL, receiver.address), None)
    assert problems == (f"the webhook at 127.0.0.1 {told}",)
    assert len(receiver.got) == attempts


def test_a_receiver_that_hangs_or_is_not_there_ends_in_time(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "CHANNEL_S", 0.5)
    with receiving(0) as receiver, socket.create_server(("127.0.0.1", 0)) as silent:
        settings = dataclasses.replace(by_email(f"localhost:{silent.getsockname()[1]}"), webhook=receiver.address)
        problems = notify_about(make_run(5), settings, None)
    assert len(receiver.got) == 1  # it may have been heard: not said twice
    assert problems[0].startswith("the webhook at 127.0.0.1 could not be reached: ")
    assert "could not be handed to localhost" in problems[1]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        (problem,) = notify_about(make_run(5), NotifySettings(ALL, f"http://127.0.0.1:{port}/x"), None)
    assert problem == "the webhook at 127.0.0.1 could not be reached: [Errno 111] Connection refused"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("file:///etc/secret", "the webhook's address does not begin with http:// or https://"),
        ("http://[::1/secret", "the webhook's address cannot be read"),
        ("http://127.0.0.1:99999/secret", "the webhook's address cannot be read"),
        ("http://127.0.0.1/sec ret", "the webhook at 127.0.0.1 has an address that cannot be read"),
        ("http://127.0.0.1/secrét", "the webhook at 127.0.0.1 has an address that cannot be read"),
    ],
)
def test_an_address_that_is_none_is_a_problem_and_no_exception(make_run: MakeRun, address: str, told: str) -> None:
    assert notify_about(make_run(5), NotifySettings(ALL, address), None) == (told,)


def test_an_email_has_all_that_a_mail_programme_wants(make_run: MakeRun) -> None:
    error = "ValueError: size\r\nBcc: everybody@example.com"
    with mail_server() as (mailbox, server):
        assert notify_about(make_run(5, "failed", error=error), by_email(server, security="none"), None) == ()
    message = mailbox.only()
    assert message["Subject"] == (
        f"perfkit nightly failed on {HOST}: 30_tune: ValueError: size Bcc: everybody@example.com"
    )
    assert message["Bcc"] is None
    assert (message["From"], message["To"]) == ("perfkit@example.com", "Team <team@example.com>")
    assert message["Date"]
    assert message["Message-ID"].endswith("@example.com>")
    assert message["Auto-Submitted"] == "auto-generated"
    assert mailbox.envelopes[0].rcpt_tos == ["team@example.com"]
    plain, page = (message.get_body((kind,)) for kind in ("plain", "html"))
    assert plain is not None
    assert page is not None
    assert "Report: reports/20261125T030000Z-abcd/index.html" in plain.get_content()
    assert "<h3>perfkit nightly failed on" in page.get_content()


def test_the_connection_is_encrypted_before_anybody_logs_in(
    make_run: MakeRun, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(known))
    monkeypatch.setenv("PERFKIT_TEST_PASSWORD", "correct horse")
    with mail_server(tls_context=tls(authority)) as (mailbox, server):
        settings = by_email(server, user="perfkit", password_variable="PERFKIT_TEST_PASSWORD")
        (problem,) = send_test("nightly", settings)
        assert "certificate" in problem  # of an authority that nobody knows
        assert mailbox.logins == []
        monkeypatch.setenv("SSL_CERT_FILE", str(known))
        assert send_test("nightly", settings) == ()
        monkeypatch.setenv("PERFKIT_TEST_PASSWORD", "wrong horse")
        (refused,) = send_test("nightly", settings)
    assert mailbox.only()["Subject"] == f"perfkit nightly on {HOST}: a test, nothing happened"
    assert refused == f"the e-mail could not be handed to {server}: it refused the user or the password (535)"
    assert set(mailbox.logins) == {(b"perfkit", b"correct horse"), (b"perfkit", b"wrong horse")}


def test_a_server_without_encryption_gets_no_password(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFKIT_TEST_PASSWORD", "correct horse")
    account = {"user": "perfkit", "password_variable": "PERFKIT_TEST_PASSWORD"}
    with mail_server() as (mailbox, server):
        (problem,) = send_test("nightly", by_email(server, **account))
        assert "STARTTLS extension not supported" in problem
    (problem,) = send_test("nightly", by_email("mail.example.com:25", security="none", **account))
    assert problem.startswith("no e-mail was sent: the password would go to mail.example.com unencrypted")
    monkeypatch.delenv("PERFKIT_TEST_PASSWORD")
    (problem,) = send_test("nightly", by_email("mail.example.com:25", **account))
    assert problem == (
        "no e-mail was sent: PERFKIT_TEST_PASSWORD names no password for perfkit; set it where perfkit runs"
    )
    assert mailbox.envelopes == []


def test_whoever_the_server_refuses_is_named(make_run: MakeRun) -> None:
    with mail_server() as (mailbox, server):
        settings = EmailSettings(("team@example.com", "gone@example.com"), "perfkit@example.com", server, "none")
        (problem,) = send_test("nightly", NotifySettings(ALL, email=settings))
        assert problem == f"{server} took the e-mail, but not for gone@example.com"
        assert mailbox.envelopes[0].rcpt_tos == ["team@example.com"]
        nobody = dataclasses.replace(settings, to=("gone@example.com",))
        (problem,) = send_test("nightly", NotifySettings(ALL, email=nobody))
        assert problem == f"the e-mail could not be handed to {server}: it refused gone@example.com"
