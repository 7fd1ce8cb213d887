"""tifftockd makes something happen at an exact time, by one API call, and never loses it.

A method is a class in a file in HANDLERS_DIR:

    from tifftockd import RemindProcess

    class Lamp(RemindProcess):
        method = "lamp"

        def remind(self, message):
            ...
"""

from tifftockd.errors import PermanentError, TransientError
from tifftockd.handlers import RemindProcess

__all__ = ["PermanentError", "RemindProcess", "TransientError", "__version__"]

__version__ = "0.1.0"
