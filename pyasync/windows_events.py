"""`import pyasync.windows_events` is `import asyncio.windows_events`: a module of asyncio's that asyncio imports only when asked."""
import sys

import asyncio.windows_events

sys.modules[__name__] = asyncio.windows_events
