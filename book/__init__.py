"""What makes the book: its notebooks are run, and its pages, site and editions are made of them.

``python -m book --help`` lists the commands. The pages lie in ``book/pages``, the editions in
``book/published``. ``rslib`` imports nothing from here: a change of what makes pages changes no
result, and no notebook has to be run again for it.
"""


class BookError(Exception):
    """A run or a build that cannot go on; the message says which notebook, which cell, and why."""
