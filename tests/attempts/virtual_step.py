"""Solutions of the exercise virtual_step that are wrong in a typical way, or right in an unusual one."""

BACKWARD = """
def virtual_weights(network, inputs, labels, lr):
    F.cross_entropy(network(inputs), labels).backward()
    return {name: p.detach() - lr * p.grad for name, p in network.named_parameters()}
"""
REMOVED = """
def virtual_weights(network, inputs, labels, lr):
    network.zero_grad()
    F.cross_entropy(network(inputs), labels).backward()
    weights = {name: p.detach() - lr * p.grad for name, p in network.named_parameters()}
    network.zero_grad()
    return weights
"""
IN_PLACE = """
def virtual_weights(network, inputs, labels, lr):
    gradients = torch.autograd.grad(F.cross_entropy(network(inputs), labels), list(network.parameters()))
    with torch.no_grad():
        for p, g in zip(network.parameters(), gradients):
            p -= lr * g
    return dict(network.named_parameters())
"""
UPHILL = """
def virtual_weights(network, inputs, labels, lr):
    gradients = torch.autograd.grad(F.cross_entropy(network(inputs), labels), list(network.parameters()))
    return {name: (p + lr * g).detach() for (name, p), g in zip(network.named_parameters(), gradients)}
"""


def rises(value: str = "after - before", order: str = ".argsort(descending=True)[:count]") -> str:
    return f"""
def rises(network, batch, candidates, lr):
    weights = virtual_weights(network, *batch, lr)
    before = F.cross_entropy(network(candidates[0]), candidates[1], reduction="none")
    after = F.cross_entropy(functional_call(network, weights, (candidates[0],)), candidates[1], reduction="none")
    return {value}


def most_interfered(network, batch, candidates, lr, count):
    return rises(network, batch, candidates, lr){order}
"""


def first_order(product: str, answer: str = "negative") -> str:
    return f"""
def approximate_rises(network, batch, candidates, lr):
    def gradients(inputs, labels):
        return torch.autograd.grad(F.cross_entropy(network(inputs), labels), list(network.parameters()))

    g = gradients(*batch)
    found = []
    for c in range(len(candidates[1])):
        own = gradients(candidates[0][[c]], candidates[1][[c]])
        found.append(float({product}))
    return found


suffers_if = "{answer}"
"""


def other(lines: str) -> str:
    """An answer to the last task by other lines."""
    return f"def approximate_rises(network, batch, candidates, lr):\n{lines}\n\n\nsuffers_if = 'negative'"


STEPPED = """
    stepped = copy.deepcopy(network)
    stepped.load_state_dict(virtual_weights(network, *batch, lr))
    before, after = (F.cross_entropy(n(candidates[0]), candidates[1], reduction="none") for n in (network, stepped))
    return after - before
"""
SCALED = "    return rises(network, batch, candidates, 1e-6) * lr / 1e-6"
BY_THE_HELPER = """
def virtual_weights(network, inputs, labels, lr):
    return {name: p.detach() for name, p in after_a_real_step(network, (inputs, labels), lr).named_parameters()}
"""
BY_THE_TEST = """
def rises(network, batch, candidates, lr):
    return rises_by_training(network, batch, candidates, lr)


def most_interfered(network, batch, candidates, lr, count):
    return rises(network, batch, candidates, lr).argsort(descending=True)[:count]
"""
PRODUCT = "-lr * sum((a * b).sum() for a, b in zip(g, own))"
# Cells that are replaced, and the points that are lost.
WRONG = {
    "gradients are left behind": ({"virtual": BACKWARD}, {"test-virtual": 1}),
    "gradients are removed": ({"virtual": REMOVED}, {"test-virtual": 1}),
    "one of two is written": (
        {"rises": rises().split("\n\n\n")[0] + "\n\n\ndef most_interfered(*_):\n    raise NotImplementedError()"},
        {"test-rises": 2},
    ),
    "the step is made": ({"virtual": IN_PLACE}, {"test-virtual": 1, "test-rises": 4}),
    "uphill": ({"virtual": UPHILL}, {"test-virtual": 2, "test-rises": 4}),
    "the helper": ({"virtual": BY_THE_HELPER}, {"test-virtual": 3, "test-rises": 4}),
    "what the test compares with": ({"rises": BY_THE_TEST}, {"test-rises": 4}),
    "the loss afterwards": ({"rises": rises("after")}, {"test-rises": 4}),
    "the least first": ({"rises": rises(order=".argsort()[:count]")}, {"test-rises": 2}),
    "the wrong sign": ({"first-order": first_order(PRODUCT.removeprefix("-"), "positive")}, {"test-first-order": 3}),
    "the rise itself": ({"first-order": "approximate_rises = rises\nsuffers_if = 'negative'"}, {"test-first-order": 2}),
    "the rise of a copy": ({"first-order": other(STEPPED)}, {"test-first-order": 2}),
    "a small step": ({"first-order": other(SCALED)}, {"test-first-order": 2}),
    "a small step of a copy": (
        {
            "first-order": other(
                STEPPED.replace("*batch, lr", "*batch, 1e-6").replace("after - before", "(after - before) * lr / 1e-6")
            )
        },
        {"test-first-order": 2},
    ),
}
COPY = """
def virtual_weights(network, inputs, labels, lr):
    other = copy.deepcopy(network)
    optimiser = torch.optim.SGD(other.parameters(), lr=lr)
    optimiser.zero_grad()
    F.cross_entropy(other(inputs), labels).backward()
    optimiser.step()
    return {name: p.detach() for name, p in other.named_parameters()}
"""
FUNCTIONAL = """
def virtual_weights(network, inputs, labels, lr):
    own = {name: p.detach() for name, p in network.named_parameters()}
    g = torch.func.grad(lambda w: F.cross_entropy(functional_call(network, w, (inputs,)), labels))(own)
    return {name: torch.add(own[name], g[name], alpha=-lr) for name in own}
"""
ALL_AT_ONCE = """
from torch.func import grad, vmap


def approximate_rises(network, batch, candidates, lr):
    own = {name: p.detach() for name, p in network.named_parameters()}

    def gradient(image, label):
        return grad(lambda w: F.cross_entropy(functional_call(network, w, (image[None],)), label[None]))(own)

    g = grad(lambda w: F.cross_entropy(functional_call(network, w, (batch[0],)), batch[1]))(own)
    each = vmap(gradient)(*candidates)
    return -lr * sum((each[name].flatten(1) @ g[name].flatten()) for name in g)


suffers_if = "negative"
"""
FROM_THE_STEP = """
def approximate_rises(network, batch, candidates, lr):
    weights, found = virtual_weights(network, *batch, 1.0), []
    for image, label in zip(*candidates):
        loss = F.cross_entropy(network(image[None]), label[None])
        own = torch.autograd.grad(loss, list(network.parameters()))
        found.append(sum((o * (weights[n] - p)).sum() for o, (n, p) in zip(own, network.named_parameters())) * lr)
    return found


suffers_if = "negative"
"""
RIGHT = {
    "all candidates at once": {"first-order": ALL_AT_ONCE},
    "the step in place of the gradient": {"first-order": FROM_THE_STEP},
    "a copy is trained": {"virtual": COPY},
    "by torch.func": {"virtual": FUNCTIONAL, "first-order": first_order(PRODUCT)},
    "by topk": {"rises": rises(order=".topk(count).indices.tolist()")},
}
