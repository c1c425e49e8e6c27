"""`import pyasync.tools` is `import asyncio.tools`: a module of asyncio's that asyncio imports only when asked."""
import sys

import asyncio.tools

sys.modules[__name__] = asyncio.tools
