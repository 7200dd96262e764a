"""What tests of prediction share: a process that learns, and reads of users."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.machine import Machine
from thermocline import Settings, StorageOrchestrator
from thermocline.domain.units import Seconds
from thermocline.ports.predictor import Predictor
from thermocline.services.learning import LearningService
from thermocline.services.prefetching import Prefetcher
from thermocline.testing.faults import Faults
from thermocline.wiring.predicting import predictor_factory

IDLE = Seconds(1800.0)


class LearningMachine(Machine):
    """A machine whose processes learn."""

    def __init__(self, folder: Path, **prediction: Any) -> None:
        settings = Settings.model_validate({"prediction": prediction})
        super().__init__(folder, settings=settings)

    @asynccontextmanager
    async def learning(self, faults: Faults | None = None) -> AsyncIterator[StorageOrchestrator]:
        """Run a process whose predictor is there from the start."""
        self.predictor = predictor_factory(self.settings.prediction)
        async with self.process(faults) as store:
            await learning_of(store).open()
            yield store


def learning_of(store: StorageOrchestrator) -> LearningService:
    learning = store.services.learning
    assert learning is not None
    return learning


def predictor_of(store: StorageOrchestrator) -> Predictor:
    predictor = learning_of(store).predictor
    assert predictor is not None
    return predictor


def prefetcher_of(store: StorageOrchestrator) -> Prefetcher:
    prefetching = store.services.prefetching
    assert prefetching is not None
    return prefetching


async def read_sessions(machine: Machine, store: StorageOrchestrator, *content_ids: str, count: int = 10) -> None:
    """Let so many users read these contents one after the other, and learn from it."""
    for number in range(count):
        for content_id in content_ids:
            await store.retrieve_content(content_id, user_context={"user_id": f"u{number}"})
    await store.services.background.drain()
    machine.clock.advance(IDLE + 1)
    await learning_of(store).learn()


def related(store: StorageOrchestrator, content_id: str) -> list[str]:
    return [prediction.content_id for prediction in predictor_of(store).predict(content_id, limit=20)]
