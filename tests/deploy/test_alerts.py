"""Alert rules under Prometheus' own test of rules: what wakes an operator, and what does not."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ALERTS = Path(__file__).resolve().parents[2] / "deploy" / "alerts.yaml"
# The counter that each page watches.
PAGES = {
    "CalpowLedgerUnavailable": 'calpow_ledger_errors_total{model_name="digits"}',
    "CalpowPricingUnavailable": 'calpow_refusals_total{model_name="digits",problem="pricing-unavailable"}',
}

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's prometheus is not installed")


def fires(folder: Path, alert: str, values: str, minutes: int) -> bool:
    """Return whether an alert fires after so many minutes of a counter that is read every 15 s."""
    case = {
        "interval": "15s",
        "input_series": [{"series": PAGES[alert], "values": values}],
        "alert_rule_test": [{"eval_time": f"{minutes}m", "alertname": alert, "exp_alerts": []}],
    }
    file = folder / "case.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "15s", "tests": [case]}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 or f'Labels:{{alertname="{alert}", model_name="digits"' in done.stderr, done.stderr
    return done.returncode != 0


@pytest.mark.parametrize("alert", PAGES)
def test_a_page_is_for_what_lasts_minutes_and_ends_with_it(tmp_path: Path, alert: str) -> None:
    moment, outage = "0x8 40 40x40", "0x8 1+2x20 41x40"
    assert not any(fires(tmp_path, alert, moment, minutes) for minutes in range(2, 8))
    assert [fires(tmp_path, alert, outage, minutes) for minutes in (4, 6, 10)] == [False, True, False]
