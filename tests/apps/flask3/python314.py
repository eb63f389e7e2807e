"""Flask 1.1 and Werkzeug 1.0 are older than Python 3.14, which took out what they use of `ast` and `pkgutil`."""

import ast
import sys


class Str(ast.Constant):
    """A text constant, as `ast.Str` made and showed it."""

    def __init__(self, s="", **places):
        super().__init__(value=s, **places)

    @property
    def s(self):
        return self.value


def restore_what_flask_1_needs():
    if sys.version_info >= (3, 14):
        ast.Str = Str
