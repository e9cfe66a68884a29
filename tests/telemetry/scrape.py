"""What Prometheus would read."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from aq.engine import Engine
from aq.telemetry.metrics import encode, read
from aq.telemetry.traffic import Traffic


@frozen
class Scrape:
    """The text is held to the format as it is read."""

    text: str

    @property
    def families(self) -> Mapping[str, Metric]:
        return {family.name: family for family in text_string_to_metric_families(self.text)}

    def value(self, name: str, **labels: str) -> float | None:
        """Of one series; None where it is not there."""
        samples = (sample for family in self.families.values() for sample in family.samples)
        found = [sample.value for sample in samples if (sample.name, sample.labels) == (name, labels)]
        assert len(found) <= 1
        return found[0] if found else None

    def all(self, name: str) -> dict[tuple[str, ...], float]:
        """Of every series, by the values of its labels in the order of their names."""
        samples = (sample for family in self.families.values() for sample in family.samples)
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for sample in samples
            if sample.name == name
        }


async def scraped(engine: Engine, traffic: Traffic | None = None) -> Scrape:
    """Without a thread, beside which a virtual clock would run ahead."""
    return Scrape(encode(await read(engine, traffic))[0].decode())
