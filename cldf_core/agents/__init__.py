"""The agents, by name. A new agent is a file here and a line in the registry; or `register` takes it from anywhere."""

from cldf_core import options as known
from cldf_core.agents.base import Agent
from cldf_core.agents.derpp import DERPP
from cldf_core.agents.ewc import EWC
from cldf_core.agents.finetune import Joint, Separate, Sequential
from cldf_core.agents.gdumb import GDumb
from cldf_core.agents.icarl import ICaRL
from cldf_core.agents.lwf import LwF
from cldf_core.agents.mir import MIR
from cldf_core.agents.replay import ER
from cldf_core.options import Options
from cldf_core.resnet import load_original

AGENTS: dict[str, type[Agent]] = {
    "separate": Separate,
    "sequential": Sequential,
    "joint": Joint,
    "icarl": ICaRL,
    "gdumb": GDumb,
    "lwf": LwF,
    "er": ER,
    "mir": MIR,
    "derpp": DERPP,
    "ewc": EWC,
}
_BUILT_IN = tuple(AGENTS)


def build_agent(options: Options) -> Agent:
    """A new agent, as the options say: untrained, or with the network of a file to `start` from."""
    agent = AGENTS[options.agent](options)
    if options.start:
        load_original(agent.network, options.start)
    return agent


def register(name: str, agent: type[Agent], options: type[Options] = Options) -> None:
    """Lets the option `agent` name an agent of one's own, until this Python ends; a second call replaces the first.

    `options` is the model of its options: one of `cldf_core.options`, such as EROptions, or a subclass with more.

    Raises:
        ValueError: the name is that of one of our agents, or no name.
    """
    if name in _BUILT_IN or not name.isidentifier():
        raise ValueError(f"the agent's name is {name!r}; allowed: a word of letters, digits and _ that is not in use")
    known.AGENTS[name] = options
    known.FIELDS.update({field: value for field, value in options.model_fields.items() if field not in known.FIELDS})
    AGENTS[name] = agent
