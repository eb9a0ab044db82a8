"""The agents, by name. A new agent is a file here and a line in the registry."""

from __future__ import annotations

from cldf_core.agents.base import Agent
from cldf_core.agents.finetune import Separate, Sequential
from cldf_core.agents.gdumb import GDumb
from cldf_core.agents.icarl import ICaRL
from cldf_core.agents.lwf import LwF
from cldf_core.agents.replay import ER, MIR
from cldf_core.options import Options

AGENTS: dict[str, type[Agent]] = {
    "separate": Separate,
    "sequential": Sequential,
    "joint": Separate,  # on the joint stream
    "icarl": ICaRL,
    "gdumb": GDumb,
    "lwf": LwF,
    "er": ER,
    "mir": MIR,
}


def build_agent(options: Options) -> Agent:
    """A new agent, untrained, as the options say."""
    return AGENTS[options.agent](options)
