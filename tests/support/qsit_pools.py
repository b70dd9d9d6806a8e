"""Values of the paper's pools and tasks by their names."""

from qsit_ray.mixture import DOMAINS


def losses(scoring, interpreting):
    return {"scoring": scoring, "interpreting": interpreting}


def ratios(*values):
    return dict(zip(DOMAINS, values, strict=True))
