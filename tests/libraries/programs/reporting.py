"""What every program here prints."""
import json


def class_names(x):
    return [f"{c.__module__}.{c.__qualname__}" for c in type(x).__mro__]


def where(loop, task):
    """On what the program ran, for its result."""
    return {"loop": class_names(loop), "main task": class_names(task)}


def report(result):
    print(json.dumps(result))
