"""The paper's figures of attacks that are made of ours, with what the paper reads off its own."""

from benchmarks.results.own_figures import ACCURACY, BARGAIN, COSTS, PRIVACY, TIME, AttackFigure

_USUAL = ("standard", "mixmatch", "knockoff-random", "knockoff-adaptive", "copycat", "jacobian", "datafree")
_TIMED = ("standard", "copycat", "jacobian", "datafree")
_LEARNING = ("standard", "entropy", "gap", "greedy", "deepfool")
_TIMES = (
    "thin lines are answers at the floor, a millisecond each, as an honest user pays; thick ones are our policy, broken"
    " ones the paper's as `calpow calibrate --policy paper` fits it. The paper's seconds begin with the model's own"
    " time, and it asks one puzzle for a thousand queries or more; ours asks one for each. So ours moves thieves to the"
    " right from their first hundred answers on, by up to 3.5 powers of ten, where the paper's policy moves them after"
    " thousands."
)
FIGURES = (
    AttackFigure(
        "figure-3-ours",
        "Figure 3, of our attacks: privacy cost against queries",
        _USUAL,
        (PRIVACY,),
        "the cost rises much faster for DataFree, CopyCat and Knockoff Nets, whose queries are of another kind, than"
        " for a standard user; that of Jacobian, which moves genuine images a little, is lower.",
        "the same. Knockoff Adaptive is the exception: ART draws its queries with replacement, and a repetition adds"
        " nothing to the sum.",
    ),
    AttackFigure(
        "figure-4-ours",
        "Figure 4, of our attacks: accuracy against privacy cost",
        _USUAL,
        (BARGAIN,),
        "no attacker has a better bargain than a user with data of the same kind; MixMatch is the best of all.",
        "the same of strangers: for the privacy of their first good copies, genuine queries yield better ones. Where a"
        " thief owns few genuine images, as of the digits, Jacobian goes on beyond them at the same cost an answer,"
        " with copies that get no better. MixMatch asks for half of what the thief owns, the rest stays unlabelled.",
    ),
    AttackFigure(
        "figure-5",
        "Figure 5: adaptive attacks with genuine queries",
        ("standard", "entropy", "entropyrev-in", "worstcase-in-privacy", "jacobian"),
        (ACCURACY, *COSTS, BARGAIN),
        "EntropyRev lowers entropy, gap and privacy of its queries, and the accuracy of its copies with them; WorstCase"
        " gains little, since genuine queries differ little in cost. At the end of the pool, all have paid the same.",
        "the same: EntropyRev and WorstCase have the least cost and the worst copies until the pool is used up, where"
        " all meet. Jacobian is not bound to the pool. WorstCase is the one that orders by privacy; ours by evidence"
        " is in [attacks.md](../attacks.md).",
    ),
    AttackFigure(
        "figure-6",
        "Figure 6: adaptive attacks with strangers",
        ("copycat", "knockoff-random", "entropyrev-out", "worstcase-out-privacy", "datafree"),
        (ACCURACY, *COSTS, BARGAIN),
        "EntropyRev and WorstCase lower the cost of strangers; their copies are worse than those of random queries.",
        "the same at few answers, where the cheapest strangers are all alike and teach little: their copies are worst"
        " where they are cheapest. Later, as their pool is used up, they have the cost and the copies of random"
        " queries. Under our policy, all of them pay the same: a stranger of low entropy is as odd.",
    ),
    AttackFigure(
        "figure-7",
        "Figure 7: accuracy against time, CIFAR-10",
        _TIMED,
        (TIME,),
        "a standard user's line hardly moves with proof of work, CopyCat's and DataFree's move by powers of ten.",
        _TIMES,
        domains=("cifar10",),
    ),
    AttackFigure(
        "figure-8-ours",
        "Figure 8, of our attacks: accuracy against time",
        _TIMED,
        (TIME,),
        "a standard user's line hardly moves with proof of work, CopyCat's and DataFree's move by powers of ten, that"
        " of Jacobian little.",
        f"{_TIMES} Jacobian's moved images are odd to ours as well, though they cost no more privacy than genuine"
        " ones.",
        domains=("digits", "mnist", "fashion"),
    ),
    AttackFigure(
        "figure-11",
        "Figure 11: InOut, strangers with genuine queries in between",
        ("standard", "copycat", "inout"),
        (ACCURACY, *COSTS),
        "InOut costs less than CopyCat and yields a better copy, but a worse one than genuine queries alone.",
        "the same. Eight strangers are followed by two genuine queries; under our policy this lowers the price little.",
    ),
    AttackFigure(
        "figure-12",
        "Figures 12 and 13: active learning",
        _LEARNING,
        (ACCURACY, *COSTS),
        "the methods have accuracies and costs like random queries', on CIFAR-10 somewhat better ones; gap needs the"
        " fewest queries.",
        "the same: what the copy is unsure of costs somewhat more at first, and all end where the pool does. Under our"
        " policy, they pay what honest users do on the digits; of 5,000 images of MNIST, those that the copy is least"
        " sure of are odd enough to cost some floors.",
    ),
    AttackFigure(
        "figure-15",
        "Figure 15: DataFree, accuracy by queries",
        ("datafree", "standard"),
        (ACCURACY, PRIVACY),
        "DataFree reaches the victim's accuracy nearly, with 1.5 million queries on MNIST, 2 million on SVHN and 20"
        " million on CIFAR-10.",
        "a few thousand queries, since each is priced as a worker prices it. Our copy is trained anew on all"
        " answers, and is better at these numbers than the student that the authors keep. The millions would take a"
        " processor days: `--attack datafree --answers 2000000`.",
    ),
    AttackFigure(
        "figure-16",
        "Figures 16 and 17: Jacobian and Jacobian-TR",
        ("standard", "jacobian", "jacobian-tr"),
        (ACCURACY, *COSTS),
        "accuracy rises with the first genuine queries, then stays: at 80 % on MNIST and 20 to 30 % on SVHN and"
        " CIFAR-10. On MNIST, the costs are below those of random queries.",
        "accuracy stays, too, of Jacobian, on a higher level: a copy is trained anew on all answers in every round,"
        " as long as the other copies. Jacobian-TR, whose steps go towards other classes, goes on rising, and costs"
        " more the more it does.",
    ),
    AttackFigure(
        "figure-18",
        "Figures 18 and 19: MixMatch",
        ("standard", "mixmatch"),
        (ACCURACY, *COSTS),
        "MixMatch has the best copies of all attacks, some hundred queries are enough on MNIST; its costs are those of"
        " random queries.",
        "the same cost; the copies are about as good as those of genuine queries, since both have the same small"
        " network and minutes of training instead of Wide-ResNet-28 and days.",
    ),
    AttackFigure(
        "figure-20",
        "Figures 20 to 22: Fashion-MNIST",
        (*_LEARNING, "jacobian", "jacobian-tr", "datafree"),
        (ACCURACY, *COSTS),
        "as on MNIST; random queries have better copies and lower costs than the simple methods of active learning.",
        "all attacks of the three figures together.",
        domains=("fashion",),
    ),
)
EXHIBITS = tuple(figure.exhibit for figure in FIGURES)
