"""The suites: of which library, what they need, how they are run. The versions are in pins.txt.

install     what is installed beside pytest; the library itself is, in the version whose sdist is fetched
copied      what of the sdist is copied to where the tests run: the tests and pytest's settings, never the library
arguments   for pytest
files       written there, by name
packages    what is rewritten beside the tests for the way `import`: the library, and what makes its loops; none: that way does not apply
"""
import os
import pathlib
from dataclasses import dataclass, field

PROGRAMS_FOLDER = pathlib.Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Suite:
    name: str
    install: tuple
    copied: tuple = ("tests", "pyproject.toml")
    arguments: tuple = ()
    files: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)
    packages: tuple = ()

    @property
    def ways(self):
        return ("asyncio", "loop", "install", "import") if self.packages else ("asyncio", "loop", "install")


@dataclass(frozen=True)
class Program:
    """A file of programs/: its tests have the way they run by in their names."""
    name: str
    install: tuple
    arguments: tuple = ()
    environment: dict = field(default_factory=dict)

    @property
    def file(self):
        return PROGRAMS_FOLDER / f"test_{self.name.replace('-', '_')}.py"


# What tornado's own runner (python -m tornado.test) does before: each test has to log nothing. And one test gives a collection of all
# garbage 0.2 s: it is spared what pytest and the modules of all tests hold.
AS_ITS_RUNNER = """import gc, logging
logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
def pytest_collection_finish(): gc.freeze()
"""

# Run when nothing is named, in this order: the short ones first.
SUITES = (
    Suite("aiojobs", ("aiojobs[aiohttp]", "pytest-aiohttp"), arguments=("--asyncio-mode=auto",),
          packages=("aiojobs", "aiohttp", "pytest_asyncio", "pytest_aiohttp")),
    # A pytest within the process for each of its tests: each would import hypothesis anew, which takes two thirds of the time.
    Suite("pytest-asyncio", ("pytest-asyncio", "hypothesis"), copied=("tests", "docs", "pyproject.toml", "setup.cfg"),
          arguments=("-p", "hypothesis_once"), files={"hypothesis_once.py": "import hypothesis\n"}),
    Suite("httpcore", ("httpcore[asyncio,http2,socks,trio]", "pytest-httpbin", "pytest-trio"), arguments=("-o", "addopts="),
          packages=("httpcore", "anyio")),
    Suite("starlette", ("starlette[full]", "httpx2[zstd]", "blockbuster", "trio", "importlib-metadata", "opentelemetry-sdk"),
          arguments=("-o", "addopts="), packages=("starlette", "anyio")),
    Suite("aiohttp", ("aiohttp", "blockbuster", "brotlicffi", "freezegun", "isal", "zlib_ng", "pkgconfig", "proxy.py", "pytest-mock",
                      "pytest-timeout", "pytest-codspeed", "pytest-cov", "pytest-xdist", "python-on-whales", "re-assert", "trustme",
                      "gunicorn"),
          copied=("tests", "examples", "pytest.ini", "requirements", "README.rst"),
          # addopts asks for xdist and coverage. Its benchmarks are left out; fast leaves out a garbage collection after each test.
          arguments=("-o", "addopts=", "-m", "not dev_mode and not autobahn and not internal", "--ignore-glob=tests/test_benchmarks_*",
                     "--aiohttp-fast")),
    Suite("tornado", ("tornado", "twisted"), copied=(), arguments=("-p", "no:logging", "-p", "as_its_runner", "--pyargs", "tornado"),
          files={"as_its_runner.py": AS_ITS_RUNNER},
          # One test gives 0.1 s to a TLS handshake; to load the system's certificates, which nothing here needs, takes most of it.
          environment={"ASYNC_TEST_TIMEOUT": "25", "SSL_CERT_FILE": os.devnull}),
    Suite("pyzmq", ("pyzmq", "tornado", "pytest-asyncio"), copied=("tests", "pytest.ini")),
)

PROGRAMS = (
    Program("websockets", ("websockets",)),
    Program("redis", ("redis",)),
    Program("asyncpg", ("asyncpg",)),
    Program("grpcio", ("grpcio",)),
    Program("hypercorn", ("hypercorn", "httpx[http2]")),
    Program("trio-asyncio", ("trio-asyncio", "anyio", "trio")),
    Program("uvicorn", ("uvicorn", "fastapi")),
    Program("distributed", ("distributed",)),
)
BY_NAME = {entry.name: entry for entry in (*SUITES, *PROGRAMS)}
