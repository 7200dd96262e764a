"""The system calls of file trees, in one place, so that a test can record them or make them fail."""

import os

from thermocline.adapters.objects.local_system import System


class TreeSystem(System):
    """The operating system as file trees use it. A test overrides single methods."""

    chmod = staticmethod(os.fchmod)
    utime = staticmethod(os.utime)
