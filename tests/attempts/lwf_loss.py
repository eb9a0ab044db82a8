"""Solutions of the exercise lwf_loss that are wrong in a typical way, or right in an unusual one."""


def losses(distillation: str, whole: str = "F.cross_entropy(z, labels) + weight * distillation_loss(z, t, T)") -> str:
    return f"""
def distillation_loss(z, t, T):
    return {distillation}


def lwf_loss(z, t, labels, T, weight):
    return {whole}
"""


def one(name: str, arguments: str, value: str) -> str:
    return f"def {name}({arguments}):\n    return {value}\n"


RIGHT_LOSS = "-(T**2) * (soften(t.detach(), T) * F.log_softmax(z / T, dim=1)).sum(1).mean()"
OWN_BACKWARD = """
def distillation_gradient(z, t, T):
    z = z.clone().requires_grad_()
    (-(T**2) * (soften(t, T) * F.log_softmax(z / T, dim=1)).sum(1).mean()).backward()
    return z.grad
"""
OWN_DIFFERENCES = """
def distillation_gradient(z, t, T):
    def loss(z):
        return -(T**2) * (soften(t, T) * torch.log(soften(z, T))).sum(1)

    moved = 1e-5 * torch.eye(z.shape[1], dtype=z.dtype)
    return torch.stack([(loss(z + step) - loss(z - step)) / 2e-5 for step in moved], 1) / len(z)
"""
SOFTMAX_BY_HAND = """
def limit_of_gradient(z, t):
    def answers(x):
        powers = torch.exp(x / 1e6)
        return powers / powers.sum(1, keepdim=True)

    return 1e6 * (answers(z) - answers(t)) / len(z)
"""
# Cells that are replaced, and the points that are lost.
WRONG = {
    "overflows": (
        {"soften": one("soften", "z, T", "torch.exp(z / T) / torch.exp(z / T).sum(1, keepdim=True)")},
        {"test-soften": 1},
    ),
    "divides by the wrong axis": (
        {"soften": one("soften", "z, T", "F.softmax(z / T, dim=0)")},
        {"test-soften": 2, "test-losses": 3, "test-gradient": 3},
    ),
    "no T squared": ({"losses": losses(RIGHT_LOSS.replace("-(T**2)", "-1"))}, {"test-losses": 3}),
    "mean over everything": ({"losses": losses(RIGHT_LOSS.replace(".sum(1)", ""))}, {"test-losses": 3}),
    "the teacher is trained": ({"losses": losses(RIGHT_LOSS.replace(".detach()", ""))}, {"test-losses": 1}),
    "labels are softened too": (
        {"losses": losses(RIGHT_LOSS, "F.cross_entropy(z / T, labels) + weight * distillation_loss(z, t, T)")},
        {"test-losses": 1},
    ),
    "one T too many": (
        {"gradient": one("distillation_gradient", "z, t, T", "T**2 * (soften(z, T) - soften(t, T)) / len(z)")},
        {"test-gradient": 3},
    ),
    "not the mean": (
        {"gradient": one("distillation_gradient", "z, t, T", "T * (soften(z, T) - soften(t, T))")},
        {"test-gradient": 3},
    ),
    "the whole is left": (
        {"losses": losses(RIGHT_LOSS).split("\n\n\n")[0] + "\n\n\ndef lwf_loss(*_):\n    raise NotImplementedError()"},
        {"test-losses": 1},
    ),
    "a special softmax": ({"soften": one("soften", "z, T", "torch.special.softmax(z / T, 1)")}, {"test-soften": 2}),
    "torch's jacobian": (
        {
            "gradient": one(
                "distillation_gradient",
                "z, t, T",
                "torch.func.jacfwd(lambda z: -(T**2) * (soften(t, T) * torch.log(soften(z, T))).sum(1).mean())(z)",
            )
        },
        {"test-gradient": 3},
    ),
    "torch's softmax": ({"soften": one("soften", "z, T", "F.softmax(z / T, 1)")}, {"test-soften": 2}),
    "a softmax's logarithm": ({"soften": one("soften", "z, T", "(z / T).log_softmax(1).exp()")}, {"test-soften": 2}),
    "torch's gradient": (
        {"gradient": one("distillation_gradient", "z, t, T", "by_autograd(distillation_loss, z, t, T)")},
        {"test-gradient": 3},
    ),
    "a gradient of its own": ({"gradient": OWN_BACKWARD}, {"test-gradient": 3}),
    "differences of its own": ({"gradient": OWN_DIFFERENCES}, {"test-gradient": 3}),
    "a softmax of its own at a high temperature": ({"limit": SOFTMAX_BY_HAND}, {"test-limit": 3}),
    "a high temperature": (
        {"limit": one("limit_of_gradient", "z, t", "distillation_gradient(z, t, 1e5)")},
        {"test-limit": 3},
    ),
    "torch's gradient at a high temperature": (
        {"limit": one("limit_of_gradient", "z, t", "by_autograd(distillation_loss, z, t, 1e5)")},
        {"test-limit": 3},
    ),
    "means are kept": ({"limit": one("limit_of_gradient", "z, t", "(z - t) / z.shape[1] / len(z)")}, {"test-limit": 3}),
}
KL = """T**2 * (
        F.kl_div(F.log_softmax(z / T, 1), p := F.softmax(t.detach() / T, 1), reduction="batchmean")
        - (p * p.log()).sum(1).mean()
    )"""
RIGHT = {
    "by a divergence": {"losses": losses(KL)},
    "by torch's cross-entropy": {
        "losses": losses(
            "T * T * F.cross_entropy(z / T, (t.detach() / T).softmax(1))",
            "0.5 * 2 * F.cross_entropy(z, labels) + distillation_loss(z, t, T) * weight",
        ),
        "soften": one("soften", "z, T", "torch.exp(z / T - torch.logsumexp(z / T, 1, keepdim=True))"),
    },
    "by the difference alone": {
        "limit": one("limit_of_gradient", "z, t", "(z - t - (z - t).mean(1)[:, None]) / z.numel()"),
        "gradient": one("distillation_gradient", "z, t, T", "(soften(z, T) - soften(t, T)).mul(T).div(z.shape[0])"),
    },
}
