"""Solutions of the exercise find_the_mistake that are wrong in a typical way, or right in an unusual one."""


def check(name: str, lines: str) -> str:
    return f"def {name}(make):\n    agent = make()\n    learn(agent, 0)\n" + "".join(
        f"    {line}\n" for line in lines.strip().splitlines()
    )


READS_OPTIONS = "def check_er_memory(make):\n    return make().options.offers == 'first-epoch'"
KNOWS_WHICH = "def check_er_memory(make):\n    return make is right_er"
IS_FULL = check("check_er_memory", "return len(agent.memory) == agent.memory.capacity")
ONLY_CLASSES = check(
    "check_gdumb_memory",
    """
learn(agent, 1)
return abs(int((2 * agent.memory.labels[: agent.memory.size] - 1).sum())) <= 1
""",
)
ANY_DOMAIN = check(
    "check_gdumb_memory", "learn(agent, 1)\nreturn set(agent.memory.domains[: agent.memory.size].tolist()) == {0, 1}"
)
ONLY_PARAMETERS = """
batches = begin(agent, 1)
before = copy.deepcopy(list(agent.teacher.parameters()))
for batch in batches:
    agent.observe(batch)
return all(torch.equal(a, b) for a, b in zip(before, agent.teacher.parameters()))
"""
AFTER_THE_END = """
before = copy.deepcopy(agent.teacher.state_dict())
learn(agent, 1)
return all(torch.equal(before[name], value) for name, value in agent.teacher.state_dict().items())
"""
COUNTS_BATCHES = """
batch = begin(agent, 1)[0]
before = int(agent.network.body.norm.num_batches_tracked)
agent.observe(batch)
return int(agent.network.body.norm.num_batches_tracked) == before + 2
"""
IN_TRAINING = """
batch = begin(agent, 1)[0]
agent.network.train()
agent.loss(batch).backward()
return bool(agent.network.head.weight.grad[:2].abs().max() < 1e-6)
"""
HAS_TEACHER = "begin(agent, 1)\nreturn agent.teacher is not None"
SMALL_STEP = """
def check_er_gradient(make):
    agent = make(memory=8, replay=8)
    agent.observe(begin(agent, 0)[0])
    return bool(agent.network.head.weight.grad.norm() < 0.1)
"""
RATIO = """
def check_er_gradient(make):
    agent = make(memory=8, replay=8, lr=1e-6)
    batch = begin(agent, 0)[0]
    agent.observe(batch)  # the memory was empty
    alone = agent.network.head.weight.grad.norm().item()
    assert len(agent.memory) == 8
    agent.observe(batch)
    return 0.8 < agent.network.head.weight.grad.norm().item() / alone < 1.25
"""
# Cells that are replaced, and the points that are lost.
WRONG = {
    "looks at the options": ({"check-er-memory": READS_OPTIONS}, {"test-er-memory": 1}),
    "looks which of them it is": ({"check-er-memory": KNOWS_WHICH}, {"test-er-memory": 2}),
    "a full memory": ({"check-er-memory": IS_FULL}, {"test-er-memory": 2}),
    "only the classes": ({"check-gdumb-memory": ONLY_CLASSES}, {"test-gdumb-memory": 2}),
    "any image of each domain": ({"check-gdumb-memory": ANY_DOMAIN}, {"test-gdumb-memory": 1}),
    "only parameters": ({"check-lwf-teacher": check("check_lwf_teacher", ONLY_PARAMETERS)}, {"test-lwf-teacher": 2}),
    "after the end": ({"check-lwf-teacher": check("check_lwf_teacher", AFTER_THE_END)}, {"test-lwf-teacher": 2}),
    "counts batches": ({"check-mir-looks": check("check_mir_looks", COUNTS_BATCHES)}, {"test-mir-looks": 1}),
    "in training mode": ({"check-icarl-distils": check("check_icarl_distils", IN_TRAINING)}, {"test-icarl-distils": 2}),
    "there is a teacher": (
        {"check-icarl-distils": check("check_icarl_distils", HAS_TEACHER)},
        {"test-icarl-distils": 1},
    ),
    "relative to its own": ({"check-er-gradient": RATIO}, {"test-er-gradient": 1}),
    "a small gradient": ({"check-er-gradient": SMALL_STEP}, {"test-er-gradient": 2}),
}
BY_LOOPS = """
def check_er_memory(make):
    for memory in (5, 64):
        agent = make(memory=memory)
        learn(agent, 0)
        learn(agent, 1)
        kept = [int(agent.memory.numbers[slot]) for slot in range(len(agent.memory))]
        if any(kept.count(number) > 1 for number in kept):
            return False
    return True
"""
ANSWERS = """
batches = begin(agent, 1)
shown = batches[0].spectra
ask = lambda: copy.deepcopy(agent.teacher).eval()(shown).detach()
before = ask()
for batch in batches:
    agent.observe(batch)
return torch.allclose(before, ask(), atol=1e-6)
"""
EACH_PART = """
batch = begin(agent, 1)[0]
agent.network.train()
agent.cross_entropy(batch).backward()
now = lambda: [part.detach().clone() for part in (*agent.network.parameters(), *agent.network.buffers())]
before = now()
slots = agent.retrieve(batch)
return len(slots) > 0 and all(map(torch.equal, before, now()))
"""
BIAS = """
batch = begin(agent, 1)[0]
agent.network.eval()
agent.loss(batch).backward()
return np.abs(agent.network.head.bias.grad[:2].numpy()).max() < 1e-6
"""
RIGHT = {
    "by loops, twice": {"check-er-memory": BY_LOOPS},
    "by the teacher's answers": {"check-lwf-teacher": check("check_lwf_teacher", ANSWERS)},
    "part by part": {"check-mir-looks": check("check_mir_looks", EACH_PART)},
    "by the bias": {"check-icarl-distils": check("check_icarl_distils", BIAS)},
}
