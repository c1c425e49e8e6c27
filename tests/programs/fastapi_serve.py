"""Serves fastapi_app with uvicorn from asyncio.run. Arguments: uvicorn's options --port, --ssl-certfile, --ssl-keyfile."""
import argparse
import asyncio

import uvicorn

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=8000)
parser.add_argument("--ssl-certfile")
parser.add_argument("--ssl-keyfile")


async def main():
    await uvicorn.Server(uvicorn.Config("fastapi_app:app", **vars(parser.parse_args()))).serve()


if __name__ == "__main__":
    asyncio.run(main())
