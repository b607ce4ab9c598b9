"""Rules about the tree itself: who may open, who may read time, what is pure, where money is exact."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "quantum_trader"
SIMULATED = "exchange/simulator/"  # the embedded exchange is the other side of the wire


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of one module."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def modules(*folders: str) -> list[str]:
    """Return every module below ``folders``, or of the whole package, as a path from its root."""
    roots = [ROOT / folder for folder in folders] or [ROOT]
    found = sorted(str(path.relative_to(ROOT)) for root in roots for path in root.rglob("*.py"))
    return [name for name in found if not name.startswith(SIMULATED)]


def imported(module: str) -> Iterator[str]:
    """Yield the full name of everything that ``module`` imports."""
    for node in ast.walk(tree(ROOT / module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(module: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield (dotted text of the function, call) for every call in ``module``."""
    for node in ast.walk(tree(ROOT / module)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def names_used(module: str) -> Iterator[str]:
    """Yield the dotted text of every name and attribute in ``module``."""
    for node in ast.walk(tree(ROOT / module)):
        if isinstance(node, (ast.Name, ast.Attribute)):
            yield ast.unparse(node)


def test_the_search_finds_the_tree() -> None:
    assert {"gates/fund_caps.py", "pipeline/claim.py", "domain/clock.py"} <= set(modules())


def test_inc_01_a_claim_is_granted_in_one_place_only() -> None:
    granting = [module for module in modules() if "Claimed.granted" in set(names_used(module))]
    assert granting == ["pipeline/claim.py"]


def test_inc_01_nobody_makes_the_proof_of_a_claim_by_another_way() -> None:
    for module in modules():
        if module != "domain/order.py":
            assert not any(name == "object.__new__" for name, _ in calls(module)), module


def test_inc_01_only_the_two_ports_send_new_orders() -> None:
    sending = {
        module
        for module in modules()
        for name, call in calls(module)
        if any(isinstance(one, ast.Name) and one.id == "NEW_ORDER" for one in call.args)
        and name.rpartition(".")[2] not in ("str", "decoded", "order_state")
    }
    assert sending == {"exchange/entry_port.py", "exchange/exit_port.py"}


def test_the_path_of_the_order_endpoint_stands_in_one_place() -> None:
    spelling = [
        module
        for module in modules()
        for node in ast.walk(tree(ROOT / module))
        if isinstance(node, ast.Constant) and node.value == "/fapi/v1/order"
    ]
    assert set(spelling) == {"exchange/endpoints.py"}


def test_only_the_sender_of_opens_uses_the_entry_port() -> None:
    opening = {module for module in modules() for name, _ in calls(module) if name.endswith("open_position")}
    assert opening == {"pipeline/opens.py"}


@pytest.mark.parametrize("module", modules("gates", "domain"))
def test_gates_and_words_do_no_input_or_output(module: str) -> None:
    forbidden = {"redis", "aiohttp", "socket", "os", "subprocess", "pathlib", "threading"}
    if module != "domain/clock.py":
        forbidden.add("asyncio")
    assert not {name.partition(".")[0] for name in imported(module)} & forbidden


@pytest.mark.parametrize("module", modules("gates"))
def test_gates_see_words_only(module: str) -> None:
    own = {name for name in imported(module) if name.startswith("quantum_trader.")}
    assert all(
        name.startswith(("quantum_trader.domain.", "quantum_trader.domain", "quantum_trader.gates."))
        for name in own
    )


@pytest.mark.parametrize("module", [module for module in modules() if module != "domain/clock.py"])
def test_nothing_but_the_clock_reads_time(module: str) -> None:
    assert not [name for name in imported(module) if name == "time" or name.startswith("time.")]
    readers = ("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "get_event_loop().time")
    assert not [name for name, _ in calls(module) if name.endswith(readers)]


@pytest.mark.parametrize("module", [module for module in modules() if module != "domain/clock.py"])
def test_nothing_but_the_clock_sleeps(module: str) -> None:
    assert not [name for name, _ in calls(module) if name == "asyncio.sleep"]


@pytest.mark.parametrize("module", modules("gates", "pipeline", "positions", "domain"))
def test_money_and_quantity_are_never_binary_floating_point(module: str) -> None:
    assert not [name for name, _ in calls(module) if name == "float"]


@pytest.mark.parametrize("module", modules("gates", "positions"))
def test_no_number_in_gates_and_positions_is_a_floating_point_literal(module: str) -> None:
    found = [node.value for node in ast.walk(tree(ROOT / module)) if isinstance(node, ast.Constant)]
    assert not [value for value in found if isinstance(value, float)]


def test_deciding_suspends_nowhere() -> None:
    waiting = [
        module
        for module in ("pipeline/decide.py", *modules("gates"))
        for node in ast.walk(tree(ROOT / module))
        if isinstance(node, (ast.AsyncFunctionDef, ast.Await))
    ]
    assert waiting == []


@pytest.mark.parametrize("module", modules())
def test_no_exception_is_caught_bare_or_swallowed(module: str) -> None:
    for node in ast.walk(tree(ROOT / module)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{module}:{node.lineno} catches everything"
            silent = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
            assert not silent, f"{module}:{node.lineno} swallows"
