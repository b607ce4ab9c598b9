"""Buy, see what became of it, and close again. Over HTTP or Redis, whichever QT_URL names.

python examples/submit_plan.py                                   # the Redis of `make run`
QT_URL=http://127.0.0.1:8080 QT_TOKEN=… python examples/submit_plan.py
"""

import os
from pathlib import Path

from quantum_trader.client import PlanRequest, connect_sync

URL = os.environ.get("QT_URL", f"unix://{Path('state/valkey.sock').resolve()}")
SYMBOL = os.environ.get("QT_SYMBOL", "XRPUSDT")

with connect_sync(URL, token=os.environ.get("QT_TOKEN", "")) as trader:
    bought = trader.submit(PlanRequest(SYMBOL, "BUY", "20", source="example"))
    print(bought.decision, bought.reason, bought.gate, bought.filled_quantity, bought.avg_price)
    if bought.executed:
        closed = trader.submit(PlanRequest.close(SYMBOL, source="example"))
        print(closed.decision, closed.reason, closed.filled_quantity)
