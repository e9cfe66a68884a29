"""What the simulated disk keeps and loses. A disk that never loses anything would prove nothing."""

from __future__ import annotations

from random import Random

from tests.powercut.platter import Create, Delete, Files, Operation, Platter, Sync, Truncate, Write

OLD = {"f": b"a" * 8_192}
B = b"b" * 8_192


def found(
    files: Files, *operations: Operation, begun: Operation | None = None
) -> set[tuple[str | None, ...]]:
    """What 300 cuts leave of "f": the letter in each half page of 512 bytes, or (None,) where it is gone."""
    platter = Platter(files)
    for operation in operations:
        platter.apply(operation)
    return {letters(platter.surviving(Random(seed), begun).get("f")) for seed in range(300)}


def letters(content: bytes | None) -> tuple[str | None, ...]:
    if content is None:
        return (None,)
    return tuple(
        chr(sector[0]) if len(set(sector)) == 1 else "?"
        for sector in (content[at : at + 512] for at in range(0, len(content), 512))
    )


def test_what_is_synced_stays() -> None:
    assert found(OLD, Write("f", 0, B), Sync("f", False)) == {("b",) * 16}
    assert found(OLD, Truncate("f", 512), Sync("f", False)) == {("a",)}


def test_of_what_is_not_synced_any_sector_may_stay() -> None:
    seen = found(OLD, Write("f", 0, B))
    assert {("a",) * 16, ("b",) * 16} <= seen
    assert any(state == ("b",) * 8 + ("a",) * 8 for state in seen)
    assert any(state == ("a",) * 8 + ("b",) * 8 for state in seen), "in any order"
    assert any("b" in state[:8] and "a" in state[:8] for state in seen), "torn within a page"
    assert any("?" in state for state in seen), "neither old nor new"


def test_bytes_beside_a_write_stay() -> None:
    files = {"f": b"a" * 512 + bytes(100) + b"c" * 412}
    platter = Platter(files)
    platter.apply(Write("f", 512, b"b" * 100))
    for seed in range(100):
        content = platter.surviving(Random(seed))["f"]
        assert content[:512] == b"a" * 512
        assert content[612:] == b"c" * 412


def test_an_operation_in_whose_midst_the_power_goes_may_have_happened() -> None:
    assert {("a",) * 16, ("b",) * 16} <= found(OLD, begun=Write("f", 0, B))
    assert found(OLD, begun=Delete("f", False)) == {("a",) * 16, (None,)}
    assert found({}, begun=Create("f")) == {(), (None,)}
    assert {("a",) * 16, ("b",) * 16} <= found(OLD, Write("f", 0, B), begun=Sync("f", False))


def test_names_last_when_their_directory_is_synced() -> None:
    assert found({}, Create("f"), Write("f", 0, b"b" * 512), Sync("f", False)) == {(None,), ("b",)}
    assert found({}, Create("f"), Write("f", 0, b"b" * 512), Sync("f", True)) == {("b",)}
    assert found(OLD, Delete("f", False)) == {("a",) * 16, (None,)}
    assert found(OLD, Delete("f", True)) == {(None,)}


def test_a_name_made_anew_is_another_file() -> None:
    again = Delete("f", False), Create("f"), Write("f", 0, b"b" * 512), Sync("f", False)
    assert found(OLD, *again) == {("a",) * 16, (None,), ("b",)}


def test_what_a_failed_sync_gave_up_no_later_sync_brings_back() -> None:
    platter = Platter(OLD)
    platter.apply(Write("f", 0, B))
    platter.sync_failed("f")
    platter.apply(Write("f", 4_096, b"c" * 512))
    platter.apply(Sync("f", False))
    seen = {letters(platter.surviving(Random(seed))["f"]) for seed in range(300)}
    assert {state[8:] for state in seen} == {("c",) + ("b",) * 7}, "this page was dirty again, and is written"
    assert {("a",) * 8, ("b",) * 8} <= {state[:8] for state in seen}
