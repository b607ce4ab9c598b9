"""Audits on disk, for programs (JSON) and for people (Markdown), and a person's signature (SPEC 10).

A weekly pack is signed by writing a name into ``signed_by`` of its JSON file. Its digest covers all
the rest, so that what was signed is what was found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from quantum_trader.bsc.audit import PROOFS, WEEKLY, Audit
from quantum_trader.bsc.findings import Verdict
from quantum_trader.bsc.records import RecordUnreadable, read_record, write_record, write_whole

UNSIGNED_FIELDS = ("signed_by", "digest")
FILES_MAX = 400
PACK_AGE_MS_MAX = 7 * 86_400_000


class EvidenceRefused(Exception):
    """A file is no evidence for an extension; the text says why and what would be."""


@dataclass(frozen=True, slots=True)
class Pack:
    """A signed weekly pack that passed: whose it is, and what names it."""

    signed_by: str
    digest: str


class AuditFolder:
    """``state_dir/audits``; keeps the newest 400 files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def store(self, audit: Audit) -> Path:
        """Write both files and return the JSON one. Raises ``OSError``."""
        moment = datetime.fromtimestamp(audit.to_ms / 1_000, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
        path = self.folder / f"bsc-{audit.kind}-{moment}Z.json"
        record = as_record(audit)
        write_record(path, record)
        write_whole(path.with_suffix(".md"), as_markdown(record).encode())
        self._forget_oldest()
        return path

    def newest(self, kind: str) -> dict[str, Any] | None:
        """Return the newest readable audit of ``kind``; None without one."""
        for path in sorted(self.folder.glob(f"bsc-{kind}-*.json"), reverse=True):
            try:
                record = read_record(path)
            except RecordUnreadable:
                continue
            if record is not None:
                return record
        return None

    def _forget_oldest(self) -> None:
        files = sorted(self.folder.glob("bsc-*"), key=lambda path: path.name.rpartition("-")[2])
        for path in files[:-FILES_MAX]:
            path.unlink(missing_ok=True)


def as_record(audit: Audit) -> dict[str, Any]:
    """Return the audit for JSON; a weekly one has a place to sign."""
    record: dict[str, Any] = {
        "kind": audit.kind,
        "verdict": audit.verdict.value,
        "from_ms": audit.from_ms,
        "to_ms": audit.to_ms,
        "findings": [finding.as_fields() for finding in audit.findings],
    }
    if audit.kind == WEEKLY:
        record["signed_by"] = ""
    return {**record, "digest": digest_of(record)}


def digest_of(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of everything but signature and digest."""
    content = {name: value for name, value in record.items() if name not in UNSIGNED_FIELDS}
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def signed_pack(path: Path, now_ms: int) -> Pack:
    """Return the signed weekly pack of ``path``.

    Raises:
        EvidenceRefused: it is none, is older than seven days, was changed, is unsigned, or did not pass.
    """
    try:
        record = read_record(path)
    except RecordUnreadable as broken:
        raise EvidenceRefused(
            f"{broken}; give the JSON file of `quantum-trader bsc audit --weekly`"
        ) from None
    if record is None:
        raise EvidenceRefused(f"{path} does not exist; make one with `quantum-trader bsc audit --weekly`")
    problem = _problem_of(record, now_ms)
    if problem:
        raise EvidenceRefused(f"{path}: {problem}")
    return Pack(str(record["signed_by"]).strip(), str(record["digest"]))


def _problem_of(record: Mapping[str, Any], now_ms: int) -> str:
    if record.get("kind") != WEEKLY:
        return "is no weekly audit pack; make one with `quantum-trader bsc audit --weekly`"
    if record.get("digest") != digest_of(record):
        return "was changed after it was made; only `signed_by` may be filled in"
    if not 0 <= now_ms - int(record["to_ms"]) <= PACK_AGE_MS_MAX:
        return "is older than seven days; make a new one"
    verdicts = {row["name"]: row["verdict"] for row in record["findings"]}
    failed = [name for name in PROOFS if verdicts.get(name) != Verdict.PASS]
    if failed:
        return f"does not prove: {', '.join(failed)}"
    if not str(record.get("signed_by", "")).strip():
        return "is not signed; read it and write your name into `signed_by`"
    return ""


def as_markdown(record: Mapping[str, Any]) -> str:
    """Return the audit for people."""
    lines = [
        f"# BSC {record['kind']} audit: {record['verdict']}",
        "",
        f"From {_utc(record['from_ms'])} to {_utc(record['to_ms'])}. Digest `{record['digest']}`.",
        "",
        "| check | verdict | found |",
        "|---|---|---|",
        *(
            f"| {row['name']} | {row['verdict']} | {row['found'].replace('|', '/')} |"
            for row in record["findings"]
        ),
    ]
    for row in record["findings"]:
        evidence = orjson.dumps(row["evidence"], option=orjson.OPT_INDENT_2).decode()
        lines += ["", f"## {row['name']}: {row['verdict']}", "", row["found"], "", "```json", evidence, "```"]
    if "signed_by" in record:
        lines += ["", "Signed by: ____________________ (and in the JSON file, as `signed_by`)"]
    return "\n".join(lines) + "\n"


def _utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
