"""Which suites there are, what is asked of them, and how each is told where its server is. Pure: tables and texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

DATABASE = "test"
#: What the suites expect to find; SQLAlchemy's README.unittests names the second.
DATABASES = (DATABASE, "test_schema")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a run goes: the server itself or the router before it. The account may do everything there."""

    host: str
    port: int
    user: str
    password: str
    ca_file: str


@dataclass(frozen=True, slots=True)
class Sdist:
    """A source distribution: its name and version in the package index, and the SHA-256 of the one file."""

    package: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Suite:
    """Tests of another project with one driver.

    Attributes:
        whole: what pytest is asked to run.
        part: the same for a short run, see `SUITES`.
        files: by name, what is written into the suite's directory; passwords belong here or in the environment.
        options: more words for pytest.
        environment: more variables.
    """

    sdist: Sdist
    whole: tuple[str, ...]
    part: tuple[str, ...]
    files: Callable[[Target], Mapping[str, str]] = lambda target: {}
    options: Callable[[Target], tuple[str, ...]] = lambda target: ()
    environment: Callable[[Target], Mapping[str, str]] = lambda target: {}


SQLALCHEMY = Sdist("sqlalchemy", "2.1.9", "d700a8b2edfb26282a470333d6bc4a454c4acda4d201a3bea7b72fa76c217d28")
AIOMYSQL = Sdist("aiomysql", "0.3.2", "72d15ef5cfc34c03468eb41e1b90adb9fd9347b0b589114bd23ead569a02ac1a")
DIALECT = "test/dialect/test_suite.py"


def _sqlalchemy(driver: str) -> Suite:
    def files(target: Target) -> Mapping[str, str]:
        # The router's own address is in no member's certificate; that a name is verified has tests of its own.
        tls = f"ssl_ca={quote(target.ca_file)}&ssl_check_hostname=false"
        login = f"{quote(target.user, safe='')}:{quote(target.password, safe='')}"
        url = f"mysql+{driver}://{login}@{target.host}:{target.port}/{DATABASE}?charset=utf8mb4&{tls}"
        return {"test.cfg": "[db]\ntarget = " + url.replace("%", "%%") + "\n"}

    return Suite(
        SQLALCHEMY,
        whole=(DIALECT, "test/dialect/mysql"),
        part=(DIALECT, "-k", PART),
        files=files,
        # Its own settings stop at 250 failures.
        options=lambda target: ("--db=target", "--maxfail=100000"),
    )


#: What bytes of all sorts there are between a client and a server: rows of every type and size, both ways, errors,
#: generated keys, affected rows, changes of isolation and several result sets. Left out is what asks the same few
#: questions again and again: reflection, and 269 variants of one look into a JSON document. They are most of the time.
PART = (
    "(RowFetch or Rowcount or RowCount or ServerSideCursors or Insert or LastrowId or Returning or IsolationLevel "
    "or Autocommit or Exception or Unicode or Text or Binary or JSON or Numeric or Date or Time or Escaping) "
    "and not Reflection and not JSONTest"
)

SUITES: Mapping[str, Suite] = {
    "sqlalchemy-pymysql": _sqlalchemy("pymysql"),
    "sqlalchemy-asyncmy": _sqlalchemy("asyncmy"),
    "aiomysql": Suite(
        AIOMYSQL,
        # Those of `aiomysql.sa` need an SQLAlchemy that is long gone.
        whole=("tests", *(f"--ignore=tests/{name}" for name in ("sa", "test_async_iter.py", "test_async_with.py"))),
        part=("tests/test_basic.py", "tests/test_nextset.py", "tests/test_sscursor.py"),
        # A name of its own, so that tests are called the same wherever the server is.
        options=lambda target: (f"--mysql-address=server={target.host}:{target.port}",),
        environment=lambda target: {"MYSQL_ROOT_PASSWORD": target.password},
    ),
}
