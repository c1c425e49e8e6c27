"""A FastAPI application for several workers: /who says which process answers, and on what it runs."""
import asyncio
import os

from fastapi import FastAPI
from reporting import class_names

app = FastAPI()


@app.get("/who")
async def who():
    await asyncio.sleep(0.001)
    return {"pid": os.getpid(), "loop": class_names(asyncio.get_running_loop()), "task": class_names(asyncio.current_task())}


@app.get("/blocking/{number}")
def blocking(number: int):
    return {"number": number}


@app.post("/double/{number}")
async def double(number: int):
    return {"number": 2 * number}
