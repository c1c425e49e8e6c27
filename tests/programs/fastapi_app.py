"""A FastAPI application: JSON with validation, plain functions in threads, streams both ways, background work, errors."""
import asyncio
import hashlib
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

CHUNK = 64 * 1024
state = {"connections": 0, "background": 0, "disconnected": 0}


def class_names(x):
    return [f"{c.__module__}.{c.__qualname__}" for c in type(x).__mro__]


@asynccontextmanager
async def lifespan(app):
    print("lifespan: up", flush=True)

    async def tick():
        while True:
            await asyncio.sleep(0.01)
    ticker = asyncio.create_task(tick())
    yield
    ticker.cancel()
    print("lifespan: down", flush=True)


app = FastAPI(lifespan=lifespan)


class Item(BaseModel):
    name: str
    price: float
    tags: list[str] = []


async def connection():
    state["connections"] += 1
    await asyncio.sleep(0)
    try:
        yield state["connections"]
    finally:
        state["connections"] -= 1


@app.get("/where")
async def where():
    return {"loop": class_names(asyncio.get_running_loop()), "task": class_names(asyncio.current_task())}


@app.get("/state")
async def read_state():
    return state


@app.post("/items/{number}")
async def add_item(number: int, item: Item, open_ones: Annotated[int, Depends(connection)]):
    await asyncio.sleep(0.001 * (number % 4))
    return {"number": number, "total": item.price * len(item.tags), "open": open_ones >= 1}


@app.get("/blocking/{number}")
def blocking(number: int):
    return {"number": number}


@app.put("/upload")
async def upload(request: Request):
    digest, size = hashlib.sha256(), 0
    async for chunk in request.stream():
        digest.update(chunk)
        size += len(chunk)
    return {"size": size, "digest": digest.hexdigest()}


@app.get("/download/{chunks}")
async def download(chunks: int):
    async def body():
        for i in range(chunks):
            yield i.to_bytes(8, "big") * (CHUNK // 8)
    return StreamingResponse(body(), media_type="application/octet-stream")


@app.get("/endless")
async def endless():
    async def body():
        try:
            while True:
                yield b"x" * CHUNK
                await asyncio.sleep(0)
        finally:
            state["disconnected"] += 1
    return StreamingResponse(body())


@app.post("/background")
async def background(tasks: BackgroundTasks):
    async def work():
        await asyncio.sleep(0.01)
        state["background"] += 1
    tasks.add_task(work)
    return {"accepted": True}


@app.get("/teapot")
async def teapot():
    raise HTTPException(418, "short and stout")


@app.get("/broken")
async def broken():
    raise RuntimeError("this page is broken on purpose")
