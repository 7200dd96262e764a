"""What learns from reads and fetches ahead, made from settings. The adapter is imported only when it is needed."""

from collections.abc import Callable

from thermocline.adapters.layers.breaking import BreakingCache
from thermocline.domain.units import Seconds
from thermocline.ports.cache import SharedLevel
from thermocline.ports.catalog import Catalog
from thermocline.ports.clock import Clock
from thermocline.ports.predictor import Predictor
from thermocline.services.admission import MemoryBudget
from thermocline.services.background import Background
from thermocline.services.filling import Filler
from thermocline.services.judging import Judge
from thermocline.services.learning import LearningService
from thermocline.services.placements import Placements
from thermocline.services.prefetching import Prefetcher, PrefetchLimits
from thermocline.services.tracking import AccessFlush
from thermocline.wiring.sections import PredictionSettings
from thermocline.wiring.settings import Settings

HOLDER_BYTES = 8
SECRET_BYTES = 32
MINUTE = Seconds(60.0)


def predictor_factory(settings: PredictionSettings) -> Callable[[], Predictor] | None:
    """Return what makes the predictor of the settings; None if nothing is to be learned."""
    if not settings.enabled:
        return None

    def make() -> Predictor:
        from thermocline.adapters.predictors.co_access import CoAccessPredictor

        return CoAccessPredictor(
            memory=settings.memory, half_life=settings.half_life, session_idle=settings.session_idle
        )

    return make


def make_learning(
    settings: Settings,
    catalog: Catalog,
    make_predictor: Callable[[], Predictor] | None,
    clock: Clock,
    entropy: Callable[[int], bytes],
) -> LearningService | None:
    """Return what feeds the predictor, if there is one."""
    if make_predictor is None:
        return None
    return LearningService(
        make_predictor,
        catalog.cursors,
        catalog.elections,
        clock,
        holder=entropy(HOLDER_BYTES).hex(),
        save_every=settings.prediction.save_every,
    )


def make_prefetcher(
    settings: Settings,
    learning: LearningService | None,
    filler: Filler,
    tracking: AccessFlush,
    background: Background,
    memory: MemoryBudget,
    placements: Placements,
    clock: Clock,
    entropy: Callable[[int], bytes],
    *,
    shared: SharedLevel | None,
) -> Prefetcher | None:
    """Return what fetches ahead, if anything is learned; its judge hears of all reads from `tracking`."""
    if learning is None:
        return None
    rules = settings.prediction
    judge = Judge(clock, window=rules.window, wait_weight=rules.wait_weight, counted=tracking.tracker.counted)
    tracking.on_counts = judge.look_through
    tracking.on_put_back = judge.take_back
    return Prefetcher(
        learning,
        judge,
        filler,
        background,
        memory,
        placements,
        clock,
        PrefetchLimits(
            concurrency=rules.concurrency,
            bytes_per_interval=rules.bytes_per_minute,
            interval=MINUTE,
            wait_weight=rules.wait_weight,
            may_pay=rules.paid_retrieval,
        ),
        secret=entropy(SECRET_BYTES),
        is_pressed=lambda: isinstance(shared, BreakingCache) and shared.open_circuits > 0,
    )
