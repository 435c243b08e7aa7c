"""How fast rslib is beside public peers: same weights, same images, one process, interleaved.

    python -m benchmarks                       everything, stored in benchmarks/results/
    python -m benchmarks pgd gradcam           some of it
    python -m benchmarks --quick               a try of a minute, stored nowhere
    python -m benchmarks --device cuda         everything on a GPU, stored beside it
    python -m benchmarks.page                  the book's page, from what is stored
    python -m benchmarks --help

Times belong here and never into tests. A row first checks that all contenders give the same answer;
its claim is a ratio of medians within one run. Beside it stands how long its arithmetic alone would
take at the device's own rates.
"""
