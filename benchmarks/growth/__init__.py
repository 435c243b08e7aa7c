"""How time and memory grow with images, models, noise samples, resolution, classes and batch size.

    python -m benchmarks.growth --out benchmarks/results
    python -m benchmarks.growth --out benchmarks/results --quick

Each cell is a workload of rslib at one size, run in a process of its own; exponents are fitted to
the seconds, and memory is compared with that of the data. From the same run follows what an
evaluation at ImageNet's scale would take, as a projection.
"""

from benchmarks.growth.page import describe, figure, markdown

__all__ = ["describe", "figure", "markdown"]
