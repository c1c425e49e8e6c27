from asyncio.runners import Runner as Runner, run as run
