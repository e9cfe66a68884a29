"""Held destinations: nobody starts, then one probes, then all are free."""

from __future__ import annotations

from attrs import define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aq.actors.holds import FOREVER, LONGEST_HOLD_US, MOST_HELD, Holds
from aq.instants import SECOND

SHOPS = st.sampled_from(["https://a", "https://b"])
SHOP = "https://a"


@define
class Told:
    """What was told of one destination."""

    until: int
    probe: str | None = None
    told_while_probing: bool = False


class HoldsMachine(RuleBasedStateMachine):
    """Attempts begin and end, well or with a Retry-After, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.holds = Holds()
        self.now = 0
        self.told: dict[str, Told] = {}
        self.running: dict[str, str] = {}
        self.minted = 0
        self.woken = 0
        self.holds.watch(self.wake)
        self.holds.watch(self.wake)  # twice is once

    def wake(self) -> None:
        self.woken += 1

    def blocked(self, shop: str) -> int | None:
        told = self.told.get(shop)
        if told is None:
            return None
        if told.probe is not None:
            return FOREVER
        return told.until if told.until > self.now else None

    @rule(span=st.integers(1, 40))
    def time_passes(self, span: int) -> None:
        self.now += span * SECOND

    @rule(shop=SHOPS, span=st.integers(0, 60))
    def hold(self, shop: str, span: int) -> None:
        self.is_told(shop, self.now + span * SECOND)
        self.holds.hold(shop, self.now + span * SECOND)

    def is_told(self, shop: str, until: int) -> None:
        told = self.told.setdefault(shop, Told(until))
        told.until = max(told.until, until)
        told.told_while_probing = told.probe is not None

    @rule(shop=SHOPS)
    def start(self, shop: str) -> None:
        if self.blocked(shop) is None:
            self.minted += 1
            name = str(self.minted)
            self.running[name] = shop
            self.holds.starting(shop, name, self.now)
            if shop in self.told:
                self.told[shop].probe = name

    @precondition(lambda self: self.running)
    @rule(data=st.data(), retry_after=st.none() | st.sampled_from([0, SECOND, 20 * SECOND, 90 * SECOND]))
    def end(self, data: st.DataObject, retry_after: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        shop = self.running.pop(name)
        if retry_after is not None:
            self.is_told(shop, self.now + min(retry_after, LONGEST_HOLD_US))
        probed = self.is_over(shop, name, freed=True)
        self.woken = 0
        self.holds.ended(shop, name, self.now, retry_after)
        assert self.woken == probed

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        probed = self.is_over(self.running.pop(name), name, freed=False)
        self.woken = 0
        self.holds.abandoned(name)
        assert self.woken == probed

    def is_over(self, shop: str, name: str, *, freed: bool) -> bool:
        told = self.told.get(shop)
        if told is None or told.probe != name:
            return False
        if freed and not told.told_while_probing:
            del self.told[shop]
        told.probe, told.told_while_probing = None, False
        return True

    @invariant()
    def it_says_so(self) -> None:
        for shop in ("https://a", "https://b", "https://c"):
            assert self.holds.blocked_until(shop, self.now) == self.blocked(shop)
        assert bool(self.holds) == bool(self.told)
        assert len(self.holds) == len(self.told) == len(self.holds._by_end)
        assert self.holds._probes == {t.probe: s for s, t in self.told.items() if t.probe is not None}


HoldsMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
TestHolds = HoldsMachine.TestCase


def test_one_probe_then_the_rest() -> None:
    holds = Holds()
    assert holds.blocked_until(SHOP, 0) is None
    holds.hold(SHOP, 5)
    holds.hold(SHOP, 3)
    assert holds.blocked_until(SHOP, 4) == 5
    assert holds.blocked_until(SHOP, 5) is None
    holds.starting(SHOP, "probe", 5)
    holds.starting(SHOP, "after", 5)
    assert holds.blocked_until(SHOP, 6) == FOREVER
    holds.ended(SHOP, "after", 6, None)
    assert holds.blocked_until(SHOP, 6) == FOREVER
    holds.ended(SHOP, "probe", 7, None)
    assert holds.blocked_until(SHOP, 7) is None
    assert not holds


def test_an_attempt_from_before_the_hold_frees_nothing() -> None:
    holds = Holds()
    holds.starting(SHOP, "early", 0)
    holds.hold(SHOP, 5)
    holds.ended(SHOP, "early", 1, None)
    assert holds.blocked_until(SHOP, 1) == 5


def test_a_probe_that_began_before_the_latest_hold_frees_nothing() -> None:
    holds = Holds()
    holds.starting(SHOP, "slow", 0)
    holds.hold(SHOP, 5)
    holds.starting(SHOP, "probe", 5)
    holds.ended(SHOP, "slow", 6, SECOND)
    assert holds.blocked_until(SHOP, 6) == FOREVER
    holds.ended(SHOP, "probe", 7, None)
    assert holds.blocked_until(SHOP, 7) == 6 + SECOND


def test_a_minute_is_the_longest_and_a_past_one_is_over() -> None:
    holds = Holds()
    holds.ended(SHOP, "one", 10, 3_600 * SECOND)
    assert holds.blocked_until(SHOP, 10) == 10 + 60 * SECOND
    holds.ended("https://b", "two", 10, -5)
    assert holds.blocked_until("https://b", 10) is None
    holds.starting("https://b", "probe", 10)
    assert holds.blocked_until("https://b", 10) == FOREVER


def test_when_a_probe_is_given_up_the_next_may_go() -> None:
    holds = Holds()
    holds.hold(SHOP, 5)
    holds.starting(SHOP, "lost", 5)
    holds.abandoned("another")
    assert holds.blocked_until(SHOP, 6) == FOREVER
    holds.abandoned("lost")
    assert holds.blocked_until(SHOP, 6) is None
    holds.starting(SHOP, "next", 6)
    holds.ended(SHOP, "lost", 7, None)
    assert holds.blocked_until(SHOP, 7) == FOREVER


def test_who_watches_is_told_once_and_may_leave_while_it_is_told() -> None:
    holds, told = Holds(), list[str]()

    def once() -> None:
        told.append("once")
        holds.unwatch(once)
        holds.unwatch(once)

    holds.watch(once)
    holds.watch(lambda: told.append("ever"))
    for name in ("first", "second"):
        holds.hold(SHOP, 5)
        holds.starting(SHOP, name, 5)
        changes = holds.changes
        holds.ended(SHOP, name, 6, None)
        assert holds.changes == changes + 1
    assert told == ["once", "ever", "ever"]


def test_beyond_the_bound_the_hold_that_ends_first_is_forgotten() -> None:
    holds, told = Holds(), list[str]()
    holds.hold("https://probed", 1)
    holds.starting("https://probed", "probe", 1)
    for number in range(MOST_HELD - 1):
        holds.hold(f"https://{number}", 1_000_000 - number)
    holds.watch(lambda: told.append("changed"))
    assert len(holds) == MOST_HELD
    holds.hold("https://one-more", 2_000_000)
    assert len(holds) == MOST_HELD
    assert holds.blocked_until(f"https://{MOST_HELD - 2}", 5) is None
    assert holds.blocked_until(f"https://{MOST_HELD - 3}", 5) is not None
    assert holds.blocked_until("https://one-more", 5) == 2_000_000
    assert holds.blocked_until("https://probed", 5) == FOREVER
    assert told == ["changed"]


def test_a_probe_of_a_forgotten_destination_ends_without_a_trace() -> None:
    holds = Holds()
    for number in range(MOST_HELD):
        holds.hold(f"https://{number}", 1)
        holds.starting(f"https://{number}", f"probe{number}", 1)
    holds.hold("https://one", 1)  # ends first: it is forgotten itself
    assert holds.blocked_until("https://0", 2) == FOREVER
    holds.hold("https://two", FOREVER + 1)
    assert len(holds) == len(holds._probes) + 1 == MOST_HELD
    for number in range(MOST_HELD):
        holds.ended(f"https://{number}", f"probe{number}", 3, None)
    assert len(holds) == 1
