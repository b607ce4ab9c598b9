"""Addresses by way of Apprise: Telegram, Slack, Discord, e-mail, webhooks and a hundred more.

Apprise is an extra. Its own log lines may carry the addresses, which are secrets, so none is let out.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

from quantum_trader.alerts.courier import Send

INSTALL = "pip install 'quantum-trader[alerts]'"


class AlertsUnusable(Exception):
    """No alert could be sent; the text is one line that says what to do."""


def apprise_sinks(urls: Sequence[str]) -> list[Send]:
    """Return a sender to each of ``urls``; none where there are none.

    Raises:
        AlertsUnusable: Apprise is not installed, or does not know one of the URLs (named by its number).
    """
    if not urls:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its plugins' own imports: not ours to mend
        try:
            import apprise  # noqa: PLC0415  # an extra: only where alerts are configured
        except ImportError:
            raise AlertsUnusable(f"alerts.urls is set but apprise is not installed: {INSTALL}") from None
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        return [_sink(apprise, number, url) for number, url in enumerate(urls, 1)]


def _sink(apprise: Any, number: int, url: str) -> Send:
    known = apprise.Apprise()
    if not known.add(url):
        raise AlertsUnusable(
            f"alerts.urls: number {number} is no address that Apprise knows; "
            "its documentation lists the forms, like json://HOST/PATH"
        )

    def send(title: str, body: str, is_grave: bool) -> str:  # noqa: FBT001  # the shape of ``Send``
        kind = apprise.NotifyType.FAILURE if is_grave else apprise.NotifyType.WARNING
        delivered = known.notify(title=title, body=body, notify_type=kind)
        return "" if delivered else "the address did not accept it"

    return send
