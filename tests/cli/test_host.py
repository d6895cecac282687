"""`perfkit doctor`."""

from __future__ import annotations


def test_doctor_prints_findings_and_methods(perfkit) -> None:
    outcome = perfkit("doctor")
    assert outcome.exit_code == 0
    assert "kernel" in outcome.stdout
    assert "shm_pool" in outcome.stdout


def test_doctor_as_json(perfkit) -> None:
    found = perfkit("doctor", "--json").json()
    assert set(found) == {"limits", "findings", "methods", "fingerprint"}
    assert {finding["level"] for finding in found["findings"]} <= {"ok", "note", "limit"}
