"""Metric families and their text. The one importer of prometheus_client; must not know what is measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    UnknownMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from router.durations import Durations, cumulate

CONTENT_TYPE = CONTENT_TYPE_LATEST
Family = Metric
Samples = Iterable[tuple[list[str], float]]
"""The values of a family's labels, and the value that they have."""


def gauge(name: str, words: str, labels: Sequence[str], samples: Samples) -> Metric:
    """How something is now."""
    return _filled(GaugeMetricFamily(name, words, labels=labels), samples)


def counter(name: str, words: str, labels: Sequence[str], samples: Samples) -> Metric:
    """What only grows; `_total` is put behind the name."""
    return _filled(CounterMetricFamily(name, words, labels=labels), samples)


def untyped(name: str, words: str, labels: Sequence[str], samples: Samples) -> Metric:
    """What may be either, named as others name it."""
    return _filled(UnknownMetricFamily(name, words, labels=labels), samples)


def histogram(name: str, words: str, labels: Sequence[str], samples: Iterable[tuple[list[str], Durations]]) -> Metric:
    """Durations, in seconds."""
    family = HistogramMetricFamily(name, words, labels=labels)
    for values, durations in samples:
        so_far = cumulate(durations.buckets, durations.bounds)
        buckets = [(str(bound), float(number)) for bound, number in so_far]
        family.add_metric(values, [*buckets, ("+Inf", float(durations.number))], durations.seconds)
    return family


def text_of(families: Iterable[Metric]) -> bytes:
    """All families in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Collected(list(families)))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _filled(family: Metric, samples: Samples) -> Metric:
    for values, value in samples:
        family.add_metric(values, float(value))  # type: ignore[attr-defined]
    return family
