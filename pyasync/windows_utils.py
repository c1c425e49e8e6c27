"""`import pyasync.windows_utils` is `import asyncio.windows_utils`: a module of asyncio's that asyncio imports only when asked."""
import sys

import asyncio.windows_utils

sys.modules[__name__] = asyncio.windows_utils
