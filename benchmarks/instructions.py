"""How many instructions one operation takes, counted under valgrind: the same on a busy machine as on a quiet one.

    python benchmarks/instructions.py switch create_await --loops asyncio,pyasync

A case runs twice, with few operations and with more; the difference is what an operation costs, start-up and warm-up
gone. Not a speed: memory and branches cost time that no count shows. But a change that adds two per cent shows.
Cases that need threads or a load client are measured too, for what their Python process executes, less exactly.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import compare
import loops

FEW, MANY = 20_000, 120_000


def count(column, case, n):
    """Instructions of a whole worker process."""
    with tempfile.TemporaryDirectory() as directory:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/out", sys.executable, str(compare.HERE / "worker.py"),
                   column, case.name, "--topic", case.topic, "-n", str(n)]
        run = subprocess.run(command, capture_output=True, text=True, env=compare.environment() | {"PYTHONHASHSEED": "0"})
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or not found:
        raise RuntimeError(f"{case.name} on {column}: {run.stderr.strip().splitlines()[-1]}")
    return int(found[1])


def per_operation(column, case):
    few, many = count(column, case, FEW), count(column, case, MANY)
    operations = (MANY + MANY // 4) - (FEW + FEW // 4)
    return (many - few) / operations


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", metavar="CASE")
    parser.add_argument("--loops", default="asyncio,pyasync", help=f"comma-separated, of {', '.join(loops.COLUMNS)}")
    args = parser.parse_args()
    cases, columns = compare.choose_cases(args.cases, {}), args.loops.split(",")
    print(f"{'instructions per operation':28}" + "".join(f"{column:>14}" for column in columns))
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1)) as pool:
        for case in cases:
            results = pool.map(lambda column: per_operation(column, case), columns)
            print(f"{case.name:28}" + "".join(f"{result:14,.0f}" for result in results), flush=True)


if __name__ == "__main__":
    main()
