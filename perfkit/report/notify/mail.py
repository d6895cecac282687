"""Send a message as an e-mail."""

from __future__ import annotations

import email.message
import email.utils
import os
import smtplib
import socket
import ssl
import time

from perfkit.config.pipelines import EmailSettings
from perfkit.report.notify.message import Message

__all__ = ["send"]

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def send(settings: EmailSettings, message: Message, deadline: float) -> str:
    """Hand a message to the SMTP server.

    Args:
        settings: the server, and who gets it.
        message: what to say.
        deadline: on `time.monotonic`, when to give up.

    Returns:
        What went wrong, as a sentence; empty when the server took it for everybody.
    """
    host, _, port = settings.server.rpartition(":")
    password = os.environ.get(settings.password_variable, "") if settings.password_variable else ""
    if settings.user and not password:
        variable = settings.password_variable or "password_variable (in perfkit.toml)"
        return f"no e-mail was sent: {variable} names no password for {settings.user}; set it where perfkit runs"
    if settings.user and settings.security == "none" and host.strip("[]") not in _LOOPBACK:
        return f"no e-mail was sent: the password would go to {host} unencrypted; use security = 'starttls' or 'tls'"
    try:
        with _connected(settings, host.strip("[]"), int(port), max(deadline - time.monotonic(), 0.1)) as server:
            if settings.user:
                server.login(settings.user, password)
            receivers = [address for _, address in email.utils.getaddresses(list(settings.to))]
            refused = server.send_message(_email(settings, message), to_addrs=receivers)
    except (OSError, ValueError) as error:  # smtplib's and ssl's errors are among them
        return f"the e-mail could not be handed to {settings.server}: {_reason(error)}"
    return f"{settings.server} took the e-mail, but not for {', '.join(refused)}" if refused else ""


def _connected(settings: EmailSettings, host: str, port: int, timeout_s: float) -> smtplib.SMTP:
    # The name is given: without it, smtplib asks the network for it, which may take long.
    name = socket.gethostname()
    if settings.security == "tls":
        return smtplib.SMTP_SSL(host, port, name, timeout=timeout_s, context=ssl.create_default_context())
    server = smtplib.SMTP(host, port, name, timeout=timeout_s)
    if settings.security == "starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except (OSError, ValueError):
            server.close()
            raise
    return server


def _email(settings: EmailSettings, message: Message) -> email.message.EmailMessage:
    sent = email.message.EmailMessage()
    sent["Subject"] = message.subject
    sent["From"] = settings.sender
    sent["To"] = ", ".join(settings.to)
    sent["Date"] = email.utils.localtime()
    sent["Message-ID"] = email.utils.make_msgid(domain=email.utils.parseaddr(settings.sender)[1].rpartition("@")[2])
    sent["Auto-Submitted"] = "auto-generated"  # so that nobody's absence is answered to a machine
    sent.set_content(message.text)
    sent.add_alternative(message.to_html(), subtype="html")
    return sent


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"it refused {', '.join(error.recipients)}"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"it refused the user or the password ({error.smtp_code})"
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        return f"it answered {error.smtp_code} {said}"
    return str(error) or type(error).__name__
