"""`import pyasync.proactor_events` is `import asyncio.proactor_events`: a module of asyncio's that asyncio imports only when asked."""
import sys

import asyncio.proactor_events

sys.modules[__name__] = asyncio.proactor_events
