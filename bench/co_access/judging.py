"""Predictions judged by what came later.

Sessions are ordered by their first read. From the first 80% the predictor learns, as in production: each read is
noted in order, sessions are learned when they end. Then it is frozen. Of each later session with at least two contents,
each content in turn is what "was just read": five predictions are asked for it, by its id alone. *precision@5* is the
share of the five that are among the session's other contents, *hit@5* whether any is; fewer than five predictions count
as misses. Both are averaged within a session, then over sessions, so that a session counts once whatever its length.
*later only* counts just those that come after it in the session.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.co_access.traces import IDLE_SECONDS, Read, sessions_of
from thermocline.adapters.predictors.co_access import CoAccessPredictor
from thermocline.domain.units import MICROS_PER_SECOND, Bytes, Seconds, Timestamp
from thermocline.wiring.sections import PredictionSettings

LEARNED_SHARE = 0.8
ASKED = 5
DEFAULTS = PredictionSettings()


@dataclass(frozen=True)
class Judgement:
    precision: float
    hit: float
    precision_later: float
    hit_later: float
    sessions: int


def predictor(memory: Bytes = DEFAULTS.memory) -> CoAccessPredictor:
    """Return what the settings' defaults make."""
    return CoAccessPredictor(memory=memory, half_life=DEFAULTS.half_life, session_idle=Seconds(IDLE_SECONDS))


def moment(at: float) -> Timestamp:
    return Timestamp(round(at * MICROS_PER_SECOND))


def judge(reads: Sequence[Read], memory: Bytes = DEFAULTS.memory) -> tuple[Judgement, Judgement]:
    """Return how the predictor does, and how popularity alone would."""
    sessions = sessions_of(list(reads))
    cut = int(len(sessions) * LEARNED_SHARE)
    learner = predictor(memory)
    for number, session in enumerate(sessions[:cut]):
        for read in session:
            # Sessions of one client at different times are different sessions to it, as the pause tells it.
            learner.note(read.content_id, f"{read.session}", moment(read.at))
        if number % 100 == 0:
            while learner.learn(moment(session[0].at), most=1000):
                pass
    while learner.learn(moment(sessions[cut - 1][-1].at), most=1000, everything=True):
        pass
    counts = Counter(content_id for session in sessions[:cut] for content_id in {read.content_id for read in session})
    popular = [content_id for content_id, _ in counts.most_common(ASKED + 1)]
    known: dict[str, list[str]] = {}

    def ours(content_id: str) -> list[str]:
        if content_id not in known:
            known[content_id] = [each.content_id for each in learner.predict(content_id, limit=ASKED)]
        return known[content_id]

    def popularity(content_id: str) -> list[str]:
        return [other for other in popular if other != content_id][:ASKED]

    later = [list(dict.fromkeys(read.content_id for read in session)) for session in sessions[cut:]]
    return _judge(later, ours), _judge(later, popularity)


def _judge(sessions: list[list[str]], predict: Callable[[str], list[str]]) -> Judgement:
    sums = [0.0] * 4
    judged = 0
    for session in sessions:
        if len(session) < 2:
            continue
        judged += 1
        places = {content_id: place for place, content_id in enumerate(session)}
        own = [0.0] * 4
        for place, content_id in enumerate(session):
            found = [places[other] for other in predict(content_id) if other in places]
            after = sum(other > place for other in found)
            own[0] += len(found) / ASKED
            own[1] += bool(found)
            own[2] += after / ASKED
            own[3] += after > 0
        # The last content has nothing after it.
        for index, total in enumerate(own):
            sums[index] += total / (len(session) if index < 2 else len(session) - 1)
    averages = [total / max(judged, 1) for total in sums]
    return Judgement(averages[0], averages[1], averages[2], averages[3], judged)
