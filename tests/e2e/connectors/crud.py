"""Connector/Python, X DevAPI: works on documents and tables at HOST PORT; prints a transcript, a JSON line a step.

MODE `write` makes everything anew, and leaves what `read` reads; that one also tries to write. `who` says who it is.
"""

import hashlib
import json
import os
import sys
from typing import Any

import mysqlx
from mysqlx.errors import Error

host, port, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
# More than one read of anybody's, and still so when it is compressed, as connectors do.
WIDE = "".join(f"ü{hashlib.sha256(str(number).encode()).hexdigest()}" for number in range(6000))
own = {name: os.environ[key] for name, key in (("ssl-cert", "APP_CERT"), ("ssl-key", "APP_KEY")) if key in os.environ}
session = mysqlx.get_session(
    {
        "host": host,
        "port": port,
        "user": os.environ["APP_USER"],
        "password": os.environ["APP_PASSWORD"],
        "ssl-mode": mysqlx.SSLMode.VERIFY_CA,
        "ssl-ca": os.environ["APP_CA"],
        **own,
    }
)
schema = session.get_schema("app")


def plain(value: Any) -> Any:
    """A value as JSON can have it; what is long, by its length and digest."""
    if isinstance(value, str | bytes) and len(value) > 1000:
        data = value.encode() if isinstance(value, str) else value
        return [len(value), hashlib.sha256(data).hexdigest()]
    if isinstance(value, dict | mysqlx.DbDoc):
        document = value if isinstance(value, dict) else json.loads(str(value))
        return {key: plain(item) for key, item in sorted(document.items())}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else repr(value)


def step(name: str, act: Any) -> None:
    """Do one thing and print what came of it."""
    try:
        came = plain(act())
    except (Error, ValueError) as error:
        came = {"error": getattr(error, "errno", None), "message": str(error)}
    print(json.dumps([name, came], ensure_ascii=False))


def rows(result: Any) -> Any:
    return {"columns": [one.column_name for one in result.columns], "rows": [list(one) for one in result.fetch_all()]}


def documents(result: Any) -> Any:
    return result.fetch_all()


def affected(result: Any) -> Any:
    return {
        "affected": result.get_affected_items_count(),
        "warnings": [[one["level"], one["code"], one["msg"]] for one in result.get_warnings()],
    }


def warned(result: Any) -> Any:
    return [rows(result), [[one["level"], one["code"], one["msg"]] for one in result.get_warnings()]]


def sql(text: str, *values: Any) -> Any:
    return session.sql(text).bind(*values).execute() if values else session.sql(text).execute()


def write() -> None:
    things, stock = "py_things", "py_stock"
    sql(f"DROP TABLE IF EXISTS app.{stock}")
    schema.drop_collection(things)
    collection = schema.create_collection(things)
    step("no collection of that name twice", lambda: schema.create_collection(things).name)
    first = {"_id": "a", "name": "ännä", "age": 30, "tags": ["x", "y"], "nested": {"deep": [1, 2.5, None, True]}}
    step("add one", lambda: affected(collection.add(first).execute()))
    more = [{"_id": one, "name": one * 3, "age": age} for one, age in (("b", 20), ("c", 40), ("d", 50))]
    step("add several", lambda: affected(collection.add(*more).execute()))
    step("add a wide one", lambda: affected(collection.add({"_id": "w", "name": WIDE, "age": 1}).execute()))
    step("add without an id", lambda: len(collection.add({"name": "made"}).execute().get_generated_ids()[0]))
    step("add one that is there", lambda: affected(collection.add({"_id": "a"}).execute()))
    step("modify", lambda: affected(collection.modify("age > :age").bind("age", 35).set("old", True).execute()))
    step("patch", lambda: affected(collection.modify("_id = 'b'").patch({"name": None, "city": "Ulm"}).execute()))
    step("append", lambda: affected(collection.modify("_id = 'a'").array_append("tags", "z").execute()))
    step("replace", lambda: affected(collection.replace_one("c", {"name": "replaced", "age": 41})))
    step("remove", lambda: affected(collection.remove("name = 'made'").execute()))
    step(
        "index",
        lambda: affected(collection.create_index("by_age", {"fields": [{"field": "$.age", "type": "INT"}]}).execute()),
    )
    columns = (
        "id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(40) UNIQUE, price DECIMAL(10,3), at DATETIME(6), data LONGBLOB"
    )
    step("create table", lambda: affected(sql(f"CREATE TABLE app.{stock} ({columns})")))
    table = schema.get_table(stock)

    def insert() -> Any:
        adding = table.insert(["name", "price", "at", "data"])
        for number in range(5):
            adding.values(f"n{number}", f"{number}.125", f"2024-02-0{number + 1} 10:00:00.000001", "x" * number)
        result = adding.execute()
        return [affected(result), result.get_autoincrement_value()]

    step("insert", insert)
    step("insert what is there", lambda: affected(table.insert(["name"]).values("n1").execute()))
    step("insert a wide one", lambda: affected(table.insert(["name", "data"]).values("wide", WIDE).execute()))
    step("update", lambda: affected(table.update().set("price", 9.5).where("id = :id").bind("id", 2).execute()))
    step("delete", lambda: affected(table.delete().where("name = 'n4'").execute()))

    def transact() -> Any:
        seen = []
        session.start_transaction()
        table.delete().where("id = 1").execute()
        point = session.set_savepoint("here")
        table.delete().where("id > 0").execute()
        seen.append(table.count())
        session.rollback_to(point)
        seen.append(table.count())
        session.rollback()
        seen.append(table.count())
        session.start_transaction()
        table.insert(["name"]).values("kept").execute()
        session.commit()
        return [*seen, table.count()]

    step("transactions", transact)
    step("rollback to nowhere", lambda: session.rollback_to("nowhere"))
    read()


def read() -> None:
    things, table = schema.get_collection("py_things"), schema.get_table("py_stock")
    step("find all", lambda: documents(things.find().sort("_id").execute()))
    step("find with a condition", lambda: documents(things.find("age BETWEEN 20 AND 40").sort("age DESC").execute()))
    step(
        "find fields",
        lambda: documents(things.find().fields("name AS n", "age").sort("_id").limit(2).offset(1).execute()),
    )
    step("find in an array", lambda: documents(things.find("'x' IN tags").execute()))
    step("group", lambda: documents(things.find().fields("COUNT(*) AS n", "old").group_by("old").sort("old").execute()))
    step("count", things.count)
    step("one", lambda: things.get_one("a"))
    step("one that is not there", lambda: things.get_one("nobody"))
    # The second time each is a prepared statement.
    asking = things.find("age > :age").sort("_id")
    for age in (10, 30, 45):
        step(f"prepared find above {age}", lambda age=age: documents(asking.bind("age", age).execute()))
    selecting = table.select(["id", "name"]).where("id >= :id").order_by("id")
    for number in (1, 3, 5):
        step(f"prepared select from {number}", lambda number=number: rows(selecting.bind("id", number).execute()))
    step("select all", lambda: rows(table.select().order_by("id").execute()))
    step("select with sql", lambda: rows(sql("SELECT ?, ? + 1, NULL, CAST('2.50' AS DECIMAL(5,2))", "tëxt", 41)))
    step("several results", several)
    step("nothing", lambda: rows(table.select().where("id < 0").execute()))
    step("no such table", lambda: rows(sql("SELECT * FROM app.nowhere")))
    step("no such column", lambda: rows(table.select(["nothing"]).execute()))
    step("no sql", lambda: rows(sql("SELEKT")))
    step("no right", lambda: rows(sql("SELECT * FROM mysql.user")))
    step("error of a function", lambda: rows(sql("SELECT EXP(10000)")))
    step("warning", lambda: warned(sql("SELECT CAST('x' AS SIGNED)")))
    step("exists", lambda: [schema.exists_in_database(), things.exists_in_database(), table.is_view()])
    step(
        "objects",
        lambda: sorted(one.name for one in (*schema.get_collections(), *schema.get_tables()) if one.name[:3] == "py_"),
    )
    step("write", lambda: affected(schema.get_table("py_stock").update().set("price", 9.5).where("id = 2").execute()))
    step("afterwards", lambda: rows(sql("SELECT 'alive'")))


def several() -> Any:
    found = sql("CALL app.py_results()")
    sets = [rows(found)]
    while found.next_result():
        sets.append(rows(found))
    return sets


def who() -> None:
    version = "SELECT VARIABLE_VALUE FROM performance_schema.session_status WHERE VARIABLE_NAME = 'Mysqlx_ssl_version'"
    step("who", lambda: rows(sql(f"SELECT CURRENT_USER(), ({version})")))


if mode == "write":
    sql("DROP PROCEDURE IF EXISTS app.py_results")
    sql("CREATE PROCEDURE app.py_results() BEGIN SELECT 1 AS a; SELECT 'zwei' AS b, 3 AS c; END")
{"write": write, "read": read, "who": who}[mode]()
session.close()
step("closed", lambda: rows(sql("SELECT 1")))
