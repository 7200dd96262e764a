"""The policies there are, by name: a new one is a line here."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from thermocline.economics.policies.age import Age
from thermocline.economics.policies.idle import Idle
from thermocline.economics.policies.intelligent import Intelligent
from thermocline.economics.policies.policy import Maker
from thermocline.economics.policies.staying import Stay
from thermocline.economics.policies.velocity import Velocity
from thermocline.economics.shadows import learned

RULES: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "stay": Stay,
        "velocity": Velocity,
        "age": Age,
        "idle": Idle,
        "intelligent": Intelligent,
        "learned": learned,
    }
)
