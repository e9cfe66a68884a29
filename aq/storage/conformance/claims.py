"""Rules 17 and 18: claims, schedules, API keys, settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import evolve

from aq.apikey import ApiKey, Scope
from aq.schedule import CatchUp, Overlap, Schedule
from aq.storage.answers import Applied, Claimed, Reason, Refused
from aq.storage.changes import Change, Claim, DropSchedule, Forget, Insert, PutKey, PutSchedule, PutSetting
from aq.storage.conformance.bench import MAIL, NOW, SECOND, Bench, Case, Factory, expect
from aq.task import Environment

LIVE: Final = Environment.LIVE
CLAIM: Final = Claim(LIVE, "order-7 ü", b"\x00\xff", b'{"id": "\xc3\xa4"}', NOW + SECOND)
KEY: Final = ApiKey(
    id="key_2",
    name="for the ü team",
    environment=Environment.TEST,
    hash="ab" * 32,
    scopes=(Scope.READ, Scope.ADMIN),
    queues=("mail", "images"),
    rate_limit_per_minute=600,
    created_at=NOW,
    revoked_at=NOW + 1,
)
PLAIN_KEY: Final = ApiKey(
    id="key_1", name="", environment=LIVE, hash="cd" * 32, scopes=(), queues=(), created_at=NOW
)
SCHEDULE: Final = Schedule(
    id="schedule_2",
    environment=LIVE,
    task='{"queue": "mail", "payload": {"ü": 1}}',
    cron="0 9 * * 1-5",
    timezone="Europe/Berlin",
    overlap=Overlap.SKIP,
    catch_up=CatchUp.ALL,
    paused=True,
    created_at=NOW,
    from_at=NOW + 1,
    last_slot=NOW + 2,
    last_task_id="task_some",
    slot_task_id="task_before",
)
PLAIN_SCHEDULE: Final = Schedule(
    id="schedule_1", environment=Environment.TEST, task="{}", every=60, created_at=NOW, from_at=NOW
)


def _one_claim(change: Change) -> Sequence[Change]:
    return [CLAIM, change]


async def of_the_units_with_one_claim_one_is_applied(factory: Factory) -> None:
    """Rule 17, of Claim and the read `claim`."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.make(MAIL)
        twins = bench.task(), bench.task()
        answers = await bench.commit(*[_one_claim(Insert(task, b"{}")) for task in twins])
        expect(17, list(answers), [Applied(), Refused(Reason.EXISTS)])
        expect(17, await storage.task(twins[1].id), None)
        await bench.refused(17, Reason.EXISTS, CLAIM)
        held = Claimed(CLAIM.fingerprint, CLAIM.answer)
        expect(17, await storage.claim(LIVE, CLAIM.name, NOW), held)
        expect(17, await storage.claim(LIVE, CLAIM.name, CLAIM.expires_at - 1), held)
        expect(17, await storage.claim(LIVE, CLAIM.name, CLAIM.expires_at), None)
        expect(17, await storage.claim(Environment.TEST, CLAIM.name, NOW), None)
        expect(17, await storage.claim(LIVE, "unheard", NOW), None)
        there = evolve(CLAIM, environment=Environment.TEST)
        expect(17, list(await bench.commit([there, evolve(CLAIM, name="")])), [Applied()])
        answers = await bench.commit([CLAIM], now=CLAIM.expires_at - 1)
        expect(17, list(answers), [Refused(Reason.EXISTS)])


async def an_expired_claim_may_be_made_anew(factory: Factory) -> None:
    """Rule 17: it has expired at its ``expires_at``; within a commit too; a refused unit leaves none."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.commit([CLAIM])
        anew = evolve(CLAIM, fingerprint=b"new", expires_at=CLAIM.expires_at + SECOND)
        at = CLAIM.expires_at
        answers = await bench.commit([anew, DropSchedule("unheard")], [anew], [anew], now=at)
        wanted = [Refused(Reason.MISSING), Applied(), Refused(Reason.EXISTS)]
        expect(17, list(answers), wanted)
        expect(17, await storage.claim(LIVE, CLAIM.name, at), Claimed(b"new", CLAIM.answer))
        other = evolve(CLAIM, name="over", expires_at=at)
        expect(17, list(await bench.commit([other], [other], now=at)), [Applied(), Applied()])


async def expired_claims_are_forgotten(factory: Factory) -> None:
    """Rule 17, of Forget."""
    async with factory() as storage:
        bench = Bench(storage)
        claims = [evolve(CLAIM, name=f"{place}", expires_at=NOW + place) for place in range(6)]
        await bench.commit(claims)
        expect(17, list(await bench.commit([Forget(NOW - 1, 10)])), [Applied()])
        expect(17, list(await bench.commit([Forget(NOW, 10)])), [Applied(count=1)])
        expect(17, list(await bench.commit([Forget(NOW + 3, 2)])), [Applied(count=2)])
        late = evolve(CLAIM, name="late", expires_at=NOW - 5)
        expect(17, list(await bench.commit([late, Forget(NOW + 3, 10)])), [Applied(count=2)])
        expect(17, list(await bench.commit([Forget(NOW + 3, 10)])), [Applied()])
        for claim in claims[4:]:
            held = Claimed(claim.fingerprint, claim.answer)
            expect(17, await storage.claim(LIVE, claim.name, NOW), held)
        await bench.refused(4, Reason.MISSING, Forget(NOW + 9, 10), DropSchedule("unheard"))
        expect(
            17, list(await bench.commit([Forget(NOW + 9, 1)], [Forget(NOW + 9, 9)])), [Applied(count=1)] * 2
        )
        expect(17, await storage.claim(LIVE, claims[5].name, NOW), None)


async def forgetting_goes_on_beyond_what_its_commit_claimed(factory: Factory) -> None:
    """Rules 17 and 1: a claim that was made anew does not count against the limit."""
    async with factory() as storage:
        bench = Bench(storage)
        old = [evolve(CLAIM, name=name, expires_at=NOW - 9) for name in ("a", "b", "c")]
        await bench.commit(old, now=NOW - 99)
        anew = [evolve(claim, expires_at=NOW + 9) for claim in old[:2]]
        expect(17, list(await bench.commit(anew, [Forget(NOW, 1)])), [Applied(), Applied(count=1)])
        expect(17, list(await bench.commit([Forget(NOW, 9)])), [Applied()])


async def schedules_are_put_by_version(factory: Factory) -> None:
    """Rule 18, of PutSchedule and DropSchedule, with the reads `schedule` and `schedules`."""
    async with factory() as storage:
        bench = Bench(storage)
        await bench.refused(18, Reason.MISSING, PutSchedule(evolve(SCHEDULE, version=2)))
        await bench.refused(18, Reason.MISSING, DropSchedule(SCHEDULE.id))
        await bench.commit([PutSchedule(SCHEDULE), PutSchedule(PLAIN_SCHEDULE)])
        await bench.refused(18, Reason.EXISTS, PutSchedule(SCHEDULE))
        await bench.refused(18, Reason.VERSION, PutSchedule(evolve(SCHEDULE, version=3)))
        expect(18, await storage.schedule(SCHEDULE.id), SCHEDULE)
        expect(18, await storage.schedule("unheard"), None)
        settled = evolve(SCHEDULE, version=2, last_slot=NOW + 9, paused=False, cron=None, every=1)
        answers = await bench.commit([PutSchedule(settled)], [PutSchedule(settled)])
        expect(18, list(answers), [Applied(), Refused(Reason.VERSION)])
        expect(18, list(await storage.schedules()), [PLAIN_SCHEDULE, settled])
        expect(18, list(await storage.schedules(LIVE)), [settled])
        expect(18, list(await storage.schedules(Environment.TEST)), [PLAIN_SCHEDULE])
        await bench.refused(4, Reason.MISSING, DropSchedule(SCHEDULE.id), DropSchedule(SCHEDULE.id))
        answers = await bench.commit(
            [DropSchedule(SCHEDULE.id), PutSchedule(SCHEDULE)], [DropSchedule(PLAIN_SCHEDULE.id)]
        )
        expect(18, list(answers), [Applied(), Applied()])
        expect(18, list(await storage.schedules()), [SCHEDULE])


async def keys_are_what_was_put_last(factory: Factory) -> None:
    """Rule 18, of PutKey and the read `api_keys`."""
    async with factory() as storage:
        bench = Bench(storage)
        expect(18, list(await storage.api_keys()), [])
        await bench.commit([PutKey(KEY)], [PutKey(PLAIN_KEY)])
        expect(18, list(await storage.api_keys()), [PLAIN_KEY, KEY])
        changed = evolve(KEY, name="other", queues=None, rate_limit_per_minute=None, revoked_at=None)
        await bench.commit([PutKey(KEY), PutKey(changed)])
        expect(18, list(await storage.api_keys()), [PLAIN_KEY, changed])
        await bench.refused(4, Reason.MISSING, PutKey(KEY), DropSchedule("unheard"))
        expect(18, list(await storage.api_keys()), [PLAIN_KEY, changed])


async def settings_are_what_was_put_last(factory: Factory) -> None:
    """PutSetting and the read `settings`."""
    async with factory() as storage:
        bench = Bench(storage)
        expect(11, dict(await storage.settings()), {})
        await bench.commit([PutSetting("a", "1"), PutSetting("b", "x\u00e4\n"), PutSetting("a", "2")])
        await bench.commit([PutSetting("c", "")], [PutSetting("b", "y")])
        expect(11, dict(await storage.settings()), {"a": "2", "b": "y", "c": ""})


CASES: Final[Sequence[Case]] = (
    of_the_units_with_one_claim_one_is_applied,
    an_expired_claim_may_be_made_anew,
    expired_claims_are_forgotten,
    forgetting_goes_on_beyond_what_its_commit_claimed,
    schedules_are_put_by_version,
    keys_are_what_was_put_last,
    settings_are_what_was_put_last,
)
