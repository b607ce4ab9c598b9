"""What is promised about installing: hashed locks, one image, no address of a package index anywhere."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("build", "dev", "runtime")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = PROJECT["dependency-groups"]
# Hosts that serve packages, options that choose one, and the path every index answers under.
INDEX_ADDRESS = re.compile(
    r"\b(pypi|pythonhosted|npmjs)[.]\w"
    r"|--(extra-)?index-url[ =]\S*:|--find[-]links|https?://[^\s\"'<>)]+/simple\b",
)


def normalised(requirement: str) -> str:
    """Return the project name that a requirement begins with, as package indexes spell it."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def locked(lock: str) -> dict[str, str]:
    """Return each project of a lock file with its whole entry: version, marker, hashes."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    entries = re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return {normalised(entry): entry for entry in entries}


def pins(lock: str) -> dict[str, str]:
    """Return each project of a lock file with its pinned version."""
    return {name: entry.split("==")[1].split()[0] for name, entry in locked(lock).items()}


def instructions(keyword: str) -> list[str]:
    """Return what follows a Dockerfile keyword, once for each time it is used, in order."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return re.findall(rf"^ *{keyword} +(.*)$", text.replace("\\\n", " "), flags=re.MULTILINE)


def exec_form(instruction: str) -> list[str]:
    """Return the words of an instruction in exec form, which starts no shell."""
    words = json.loads(instruction)
    assert isinstance(words, list)
    return words


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_requirement_is_one_exact_version_with_hashes(lock: str) -> None:
    entries = locked(lock)
    assert entries
    for entry in entries.values():
        assert re.match(r"[a-z0-9._-]+==[0-9][^ ]*( ; .+?)?( +--hash=sha256:[0-9a-f]{64})+$", entry), entry


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_names_no_address_and_no_folder_of_a_machine(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    assert "://" not in text
    assert not re.search(r"(^|[\s'\"])(/|~/|[A-Z]:\\)", text)


def test_the_runtime_lock_holds_every_runtime_dependency() -> None:
    assert {normalised(each) for each in PROJECT["project"]["dependencies"]} <= set(locked("runtime"))


def test_the_build_lock_holds_the_build_backend() -> None:
    assert {normalised(each) for each in PROJECT["build-system"]["requires"]} <= set(locked("build"))


def test_the_development_lock_holds_the_tools_and_the_very_versions_that_users_run() -> None:
    tools = {normalised(each) for each in GROUPS["dev"] if isinstance(each, str)}
    assert tools <= set(locked("dev"))
    assert (pins("runtime") | pins("build")).items() <= pins("dev").items()


def test_the_image_ends_as_a_plain_user() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instructions("USER")[-1])


def test_the_engine_is_started_without_a_shell_so_that_sigterm_reaches_it() -> None:
    assert exec_form(instructions("ENTRYPOINT")[-1]) == ["quantum-trader"]
    assert exec_form(instructions("CMD")[-1]) == ["run"]
    assert instructions("STOPSIGNAL") == ["SIGTERM"]


def test_the_image_asks_the_engine_itself_for_its_health() -> None:
    (check,) = instructions("HEALTHCHECK")
    assert exec_form(check.split("CMD", 1)[1])[:2] == ["quantum-trader", "status"]


def test_the_image_keeps_its_state_in_a_volume() -> None:
    (volume,) = instructions("VOLUME")
    assert f"QT_STATE_DIR={volume}" in instructions("ENV")[-1].split()


def test_the_image_installs_what_is_hashed_and_nothing_else() -> None:
    steps = " && ".join(instructions("RUN")).split("&&")
    installs = [step for step in steps if re.search(r"/pip .*\binstall\b", step)]
    assert installs
    for install in installs:
        assert "--require-hashes" in install or "--no-index" in install, install


def test_no_file_of_the_repository_names_a_package_index() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("a source archive without git lists no files of the repository")
    listing = [git, "-c", "safe.directory=*", "ls-files", "-z"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True).stdout  # noqa: S603  # fixed words
    paths = [ROOT / name for name in names.decode().split("\0") if name]
    assert ROOT / "pyproject.toml" in paths
    naming = {
        str(path.relative_to(ROOT)): found.group()
        for path in paths
        if path.is_file() and (found := INDEX_ADDRESS.search(path.read_text(errors="replace")))
    }
    assert naming == {}
