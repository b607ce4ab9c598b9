"""What ships for Prometheus and Grafana: accepted by Prometheus' own tool, about metrics that exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import aiohttp
import pytest
from support.house import House, until

from quantum_trader.alerts.kinds import AlertKind

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
METRICS_PAGE = ROOT / "docs" / "metrics.md"
ALERTS_PAGE = ROOT / "docs" / "alerts.md"
NAME = re.compile(r"\b(?:quantum_trader|process|python)_[a-z_]+")
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian: apt install prometheus)"
)


def promtool(*words: str) -> None:
    assert PROMTOOL is not None
    done = subprocess.run(  # noqa: S603  # the tool that was found, with words from here
        [PROMTOOL, *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", "rules.yaml")


@needs_promtool
def test_promtool_fires_every_rule_and_none_for_an_engine_that_is_well() -> None:
    promtool("test", "rules", "rules_test.yaml")


@needs_promtool
def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t", encoding="utf-8")
    text = (PROMETHEUS / "prometheus.yaml").read_text(encoding="utf-8")
    config = tmp_path / "prometheus.yaml"
    config.write_text(
        text.replace("/run/secrets/http_token", str(tmp_path / "token")).replace(
            "[rules.yaml]", f"[{PROMETHEUS / 'rules.yaml'}]"
        ),
        encoding="utf-8",
    )
    promtool("check", "config", str(config))


def rules() -> list[str]:
    return re.findall(r"alert: (\w+)", (PROMETHEUS / "rules.yaml").read_text(encoding="utf-8"))


def test_every_rule_is_tested_and_leads_to_a_section_that_exists() -> None:
    tested = (PROMETHEUS / "rules_test.yaml").read_text(encoding="utf-8")
    assert set(rules()) == set(re.findall(r"alertname: (\w+)", tested))
    anchors = set(re.findall(r"alerts\.md#(\w+)", (PROMETHEUS / "rules.yaml").read_text(encoding="utf-8")))
    assert anchors
    assert anchors <= set(sections())


def sections() -> dict[str, str]:
    parts = re.split(r"^## ", ALERTS_PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {name.strip(): text for name, _, text in (part.partition("\n") for part in parts)}


@pytest.mark.parametrize("kind", list(AlertKind), ids=str)
def test_every_alert_has_a_section_that_says_what_it_means_what_to_look_at_and_what_to_do(
    kind: AlertKind,
) -> None:
    text = sections()[kind.value]
    for word in ("**Means:**", "**Look at:**", "**Do:**"):
        assert word in text


async def names_of(running: House) -> set[str]:
    """Every name that a sample has once the engine has traded."""
    await running.open("XRPUSDT", 20)
    await running.until_watched()

    async def whole() -> set[str] | None:
        async with (
            aiohttp.ClientSession() as session,
            session.get(running.app.web.url + "/metrics") as answer,
        ):
            text = await answer.text()
        found = set(re.findall(r"^([a-z_]+)[ {]", text, flags=re.MULTILINE))
        return found if "quantum_trader_position_amount" in found and 'outcome="FILLED"' in text else None

    found: set[str] = await until(whole, 20, "the position in the metrics")
    return found


@pytest.mark.usefixtures("account")
async def test_rules_dashboard_and_page_name_metrics_that_exist(running: House) -> None:
    exist = await names_of(running)
    rules_text = (PROMETHEUS / "rules.yaml").read_text(encoding="utf-8")
    expressions = re.findall(r"expr: (.+)", rules_text)
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    expressions += [target["expr"] for panel in panels for target in panel["targets"]]
    used = {name for expression in expressions for name in NAME.findall(expression)}
    assert len(used) > 20
    assert used - exist == set()
    documented = set(re.findall(r"^\| `(\w+)`", METRICS_PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    suffix = re.compile(r"_(bucket|sum|count|created)$")
    ours = {suffix.sub("", name) for name in exist if name.startswith("quantum_trader_")}
    ours = {name for name in ours if name + "_total" not in ours}  # the _created of a counter
    assert ours == documented
