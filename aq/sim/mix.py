"""What a seed's world is made of. Each has only some of the operations, temperaments and faults there are.

Swarm testing: a world with everything in it, all equally often, does not get far in any direction. So each
seed draws which things it has, how often, and how extreme they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final, TypeVar

from attrs import evolve, field, frozen

from aq.actors.services import Sizes
from aq.policy import Backoff
from aq.sim.disk import Weather
from aq.sim.endpoints import TEMPERAMENTS

T = TypeVar("T")
ALWAYS: Final = ("submit",)
OPERATIONS: Final = (
    *("batch", "repeat", "delete", "retry", "retry all", "purge", "pause", "resume", "configure", "drop"),
    *("wait", "get", "list", "explain", "schedule", "run", "unschedule"),
)
_OF_SCHEDULES: Final = ("schedule", "run", "unschedule")
STEPS: Final = ("commit", "committed", "read", "arrived", "left")
"""What a crash may come with; the life of the engine counts them. See `_cut_at_an_answer` too."""


@frozen(kw_only=True)
class Life:
    """One life of the engine, and how it ends."""

    share: float = 0
    """Of the operations that are left, so many are done in it, if it lasts."""
    lingers: float = 0
    """Seconds after the last operation."""
    step: str | None = None
    """The step that it does not survive; None: it is closed politely."""
    count: int = 1
    """The how-many-th step that is."""
    checkpoints: int = 0
    """How often everybody else may run before it is over."""
    while_closing: bool = False
    """Whether the steps count from when it is being closed."""
    down: float = 0
    """Seconds until the next one."""


@frozen(kw_only=True)
class Mix:
    """A world."""

    lives: Sequence[Life]
    total: int
    """Operations in all."""
    operations: Mapping[str, float]
    """How often each is done, relative to the others."""
    queues: Mapping[str, Mapping[str, Any]]
    """The fields of each queue's policy at first."""
    hosts: Mapping[str, str]
    """The temperament of each destination."""
    gap: float
    """Mean seconds between two operations."""
    bursts: float
    """Chance that an operation comes at the very instant of the one before."""
    traits: Mapping[str, float]
    """Chances that a task has a delay, an ordering key and so on."""
    weather: Weather
    sizes: Sizes
    max_attempts: int
    grace: float
    sandbox: float
    """Chance that a task is for the sandbox."""
    changing: Sequence[str] = field(default=())
    """The fields of a policy that are changed on the way."""
    steps: Sequence[tuple[float, float]] = ()
    """When the wall clock is set, in seconds from the beginning, and by how much."""


def mixed(random: Random) -> Mix:
    """The world of a seed."""
    lives, total = _lives(random), random.choice((12, 25, 25, 50))
    gap = random.choice((0.02, 0.1, 0.5, 2))
    spans = total * gap + sum(life.lingers + life.down for life in lives)
    mix = Mix(
        lives=lives,
        total=total,
        operations={"submit": random.choice((1, 3, 8)), **_some(random, OPERATIONS, 0.5)},
        queues={name: policy(random) for name in ("a", "b", "c")[: random.choice((1, 1, 2, 3))]},
        hosts=_hosts(random),
        gap=gap,
        bursts=random.choice((0, 0.3, 0.8)),
        traits=_traits(random),
        weather=_weather(random, spans),
        sizes=Sizes(
            window=random.choice((2, 2, 3, 4, 8)),
            requests=random.choice((1_000, 1_000, 3)),
            idle=random.choice((1.0, 5.0, 60.0)),
        ),
        max_attempts=random.choice((1_000, 1_000, 1_000, 1, 3)),
        grace=random.choice((0, 0.1, 3)),
        sandbox=random.choice((0, 0, 0, 0.2)),
        changing=[name for name in CHANGES if random.random() < 0.5],
    )
    if random.random() < 0.1:
        mix = _crowded(mix)
    if random.random() < 0.2:
        mix = _cut_at_an_answer(mix, random)
    return _stepped(mix, random, spans) if random.random() < 0.15 else mix


CHANGES: Final[Mapping[str, Sequence[Any]]] = {
    "concurrency": (1, 1, 2, 3, 50),
    "destination_concurrency": (None, 1, 2),
    "rate_limit": (None, {"per_second": 2, "burst": 1}, {"per_second": 0.5, "burst": 3}, {"per_second": 20}),
    "max_retries": (0, 1, 2, 3),
    "retry_backoff": tuple(Backoff),
    "retry_delay": (0, 0.25, 1, 3),
    "retry_delay_max": (2, 3_600),
    "retry_jitter": (0, 0.1, 1),
    "timeout": (1, 2, 5),
    "retention_completed": (5, 40, 86_400),
    "retention_failed": (5, 40, 86_400),
    "retention_max_tasks": (0, 3, 1_000),
}
"""What the fields of a policy are drawn from."""
_SELDOM: Final = ("destination_concurrency", "rate_limit", "retention_max_tasks")


def policy(random: Random) -> dict[str, Any]:
    """The fields of a policy that differ from the default one."""
    chosen = {"timeout": random.choice(CHANGES["timeout"])}
    for name, values in CHANGES.items():
        if random.random() < (0.25 if name in _SELDOM else 0.6):
            chosen[name] = random.choice(values)
    return chosen


def _crowded(mix: Mix) -> Mix:
    """All go to one place that asks for pauses, and live to see the end of them."""
    return evolve(
        mix,
        lives=[evolve(life, lingers=12) for life in mix.lives],
        operations={**mix.operations, "batch": 1, "repeat": 1},
        hosts={"https://one.example": "busy"},
        gap=max(mix.gap, 0.1),
    )


def _cut_at_an_answer(mix: Mix, random: Random) -> Mix:
    """What crashes does so as a client has just been told that something is done."""
    lives = [
        life if life.step is None else evolve(life, step="told", count=random.randint(1, 12), checkpoints=0)
        for life in mix.lives
    ]
    return evolve(mix, lives=lives, operations={**mix.operations, "delete": 1, "purge": 1})


def _stepped(mix: Mix, random: Random, spans: float) -> Mix:
    """The wall clock is set on the way. Without schedules, whose slots are instants of the wall clock."""
    steps = [
        (random.uniform(0, spans), random.choice((-3_600, 3_600))) for _ in range(random.choice((1, 2, 4)))
    ]
    operations = {name: often for name, often in mix.operations.items() if name not in _OF_SCHEDULES}
    return evolve(mix, steps=steps, operations=operations)


def _lives(random: Random) -> list[Life]:
    number = random.choice((1, 2, 2, 3, 5))
    return [
        Life(
            share=1 / (number - place),
            lingers=random.choice((0, 0.5, 4)),
            step=None if random.random() < 0.25 else random.choice(STEPS),
            count=random.choice((random.randint(1, 8), random.randint(1, 80))),
            checkpoints=random.choice((0, 0, 1, 2, 5, 12)),
            while_closing=random.random() < 0.15,
            down=random.choice((0, 0.3, 5, 40)),
        )
        for place in range(number)
    ]


def _some(random: Random, names: Sequence[str], share: float) -> dict[str, float]:
    """Some of them, some more often than others."""
    return {name: random.choice((0.3, 1, 1, 3)) for name in names if random.random() < share}


def _hosts(random: Random) -> dict[str, str]:
    number = random.choice((1, 1, 2, 3))
    kinds = random.sample(sorted(TEMPERAMENTS), k=random.choice((1, 2, 3)))
    return {f"https://{name}.example": random.choice(kinds) for name in ("one", "two", "three")[:number]}


def _traits(random: Random) -> dict[str, float]:
    names = ("delay", "priority", "ordering_key", "expires_in", "callback_url", "max_retries", "timeout")
    chances = {name: random.choice((0, 0, 0.2, 0.7)) for name in names}
    return {**chances, "idempotency_key": random.choice((0, 0.3, 1))}


def _weather(random: Random, spans: float) -> Weather:
    begins = sorted(random.uniform(0, spans) for _ in range(random.choice((0, 0, 0, 1, 2))))
    return Weather(
        commit_takes=random.choice(((0.002,), (0.002,), (0,), (0.001, 0.02), (0.002, 0.002, 0.8))),
        read_takes=random.choice(((0,), (0,), (0, 0.01), (0, 0, 0.3))),
        fails=random.choice((0, 0, 0.02, 0.2)),
        in_doubt=random.choice((0, 0, 0.02, 0.2)),
        read_fails=random.choice((0, 0, 0, 0.05)),
        full=[(begin, begin + random.choice((0.5, 3, 12))) for begin in begins],
    )
