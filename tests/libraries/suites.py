"""The suites: of which library, what they need, how they are run. The versions are in pins.txt.

install     what is installed beside pytest; the library itself is, in the version whose sdist is fetched
copied      what of the sdist is copied to where the tests run: the tests and pytest's settings, never the library
arguments   for pytest
files       written there, by name
"""
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Suite:
    name: str
    install: tuple
    copied: tuple = ("tests", "pyproject.toml")
    arguments: tuple = ()
    files: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """A file of programs/, which is about that library."""
    name: str
    install: tuple

    @property
    def file(self):
        return f"test_{self.name.replace('-', '_')}.py"


# What tornado's own runner (python -m tornado.test) does before: each test has to log nothing.
QUIET = """import logging
logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
"""

# Run when nothing is named, in this order: the short ones first.
SUITES = (
    Suite("aiojobs", ("aiojobs[aiohttp]", "pytest-aiohttp"), arguments=("--asyncio-mode=auto",)),
    Suite("pytest-asyncio", ("pytest-asyncio", "hypothesis"), copied=("tests", "docs", "pyproject.toml", "setup.cfg")),
    Suite("httpcore", ("httpcore[asyncio,http2,socks,trio]", "pytest-httpbin", "pytest-trio"), arguments=("-o", "addopts=")),
    Suite("starlette", ("starlette[full]", "httpx2[zstd]", "blockbuster", "trio", "importlib-metadata", "opentelemetry-sdk"),
          arguments=("-o", "addopts=")),
    Suite("aiohttp", ("aiohttp", "blockbuster", "freezegun", "isal", "zlib_ng", "pkgconfig", "proxy.py", "pytest-mock", "pytest-timeout",
                      "pytest-codspeed", "pytest-cov", "pytest-xdist", "python-on-whales", "re-assert", "trustme", "gunicorn"),
          copied=("tests", "examples", "pytest.ini", "requirements"),
          arguments=("-o", "addopts=", "-m", "not dev_mode and not autobahn and not internal")),
    Suite("tornado", ("tornado", "twisted"), copied=(), arguments=("-p", "no:logging", "-p", "quiet_access_log", "--pyargs", "tornado"),
          files={"quiet_access_log.py": QUIET}, environment={"ASYNC_TEST_TIMEOUT": "25"}),
    Suite("pyzmq", ("pyzmq", "tornado", "pytest-asyncio"), copied=("tests", "pytest.ini")),
)

PROGRAMS = ()
BY_NAME = {entry.name: entry for entry in (*SUITES, *PROGRAMS)}
