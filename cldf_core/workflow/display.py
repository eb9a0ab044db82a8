"""Shows what the engine does: a line for each running task in a terminal, a line a minute in a log."""

import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from cldf_core.data.console import Console, lasting, printable

if TYPE_CHECKING:
    from cldf_core.workflow.engine import Outcome, Task

EVERY = 60  # seconds between two lines in a log


class Display:
    """What is known of the tasks that run, and of those that wait."""

    def __init__(self, tasks: Sequence["Task"], address: str) -> None:
        self._left = {task.name: task.seconds for task in tasks}
        self._count, self._took = len(tasks), list[float]()
        self._begun: dict[str, float] = {}  # when each of the running tasks was
        self._states: dict[str, str] = {}
        self._said = set[tuple[str, str]]()
        self._bars: dict[str, tqdm] = {}
        setting = os.environ.get("CLDF_PROGRESS")
        self._out = sys.stderr
        self._terminal = self._out.stream if isinstance(self._out, Console) else self._out
        self._with_bars = setting == "1" or (setting != "0" and self._terminal.isatty())
        self._next = time.monotonic() + (EVERY if setting != "0" else float("inf"))
        if address:
            self._say(f"dashboard: {address}")

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *_: object) -> None:
        for bar in reversed(self._bars.values()):
            bar.close()

    def told(self, name: str, message: Mapping[str, Any]) -> None:
        """Shows what a task says: that it has begun, a line, or how far it is."""
        if name not in self._left:  # it has ended since
            return
        if "begun" in message:
            self._begun[name] = time.monotonic()
            self._say(f"{name} …")
        elif line := message.get("line"):
            if (name, line) not in self._said:
                self._said.add((name, line))
                self._say(line)
        elif name in self._begun:
            text = str(message["text"]).removesuffix(": ")
            text = "" if text == name else f"{text}, "
            self._states[name] = f"{text}{message['unit']} {message['done']} of {message['total']}"
            if self._with_bars:
                bar = self._bars[name] if name in self._bars else self._bar(name, message)
                bar.total, bar.unit = message["total"], message["unit"]
                bar.set_postfix_str(printable(text.removesuffix(", ")), refresh=False)
                bar.n = message["done"]
                bar.refresh()

    def ended(self, outcome: "Outcome") -> None:
        """Says what became of a task."""
        name = outcome.task.name
        if bar := self._bars.pop(name, None):
            bar.close()
        self._left.pop(name, None)
        self._begun.pop(name, None)
        self._states.pop(name, None)
        if outcome.status == "done":
            self._took.append(outcome.seconds)
        self._say(f"{name}: {outcome.status}" + f" ({outcome.seconds:.0f} s)" * (outcome.status != "not run"))

    def look(self) -> None:
        """Says, now and then, what goes on."""
        if self._with_bars:
            self._overall()
        elif time.monotonic() > self._next:
            self._next += EVERY
            running = (f"{name} ({self._states.get(name, 'begun')})" for name in self._begun)
            self._say(f"  {self._summary()}; running: {', '.join(running) or 'nothing yet'}")

    def _summary(self) -> str:
        done = self._count - len(self._left)
        text = f"{done} of {self._count} done"
        known = [seconds for seconds in (*self._left.values(), *self._took) if seconds]
        if not self._left or not known:
            return text
        typical, now = statistics.fmean(known), time.monotonic()
        left = [(seconds or typical) - (now - self._begun.get(name, now)) for name, seconds in self._left.items()]
        seconds = max(*left, sum(max(0, each) for each in left) / max(1, len(self._begun)), 0)
        return f"{text}, about {lasting(seconds)} left"

    def _overall(self) -> None:
        if "" not in self._bars:
            self._bars[""] = tqdm(total=0, file=self._terminal, leave=False, bar_format="{desc}")
        self._bars[""].set_description_str(self._summary())

    def _bar(self, name: str, message: Mapping[str, Any]) -> tqdm:
        settings = {"total": message["total"], "unit": message["unit"], "leave": False}
        self._bars[name] = tqdm(desc=printable(name), file=self._terminal, **settings)
        return self._bars[name]

    def _say(self, line: str) -> None:
        if self._bars:
            tqdm.write(printable(line), file=self._terminal)
        else:
            print(line, file=self._out, flush=True)
