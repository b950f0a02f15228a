"""The sample application: FastAPI with two connections, one that writes and one that reads (CQRS).

Two variables say where: `db_url_val` for the writer, `db_reader_val` for the reader, both SQLAlchemy URLs
(`mysql+pymysql://user:password@host:port/database`). Run by uvicorn: `uvicorn application:app`.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy import String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

POOL = 20  # connections to each port: as many as uvicorn has threads for requests, by halves
# A connection that a switchover has cut is found out before it is used.
WRITER = create_engine(os.environ["db_url_val"], pool_size=POOL, pool_pre_ping=True)  # noqa: SIM112 - a known name
READER = create_engine(os.environ["db_reader_val"], pool_size=POOL, pool_pre_ping=True)  # noqa: SIM112


class Model(DeclarativeBase):
    """What all tables share."""


class User(Model):
    """A row of `users`."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(80), unique=True)
    password: Mapped[str] = mapped_column(String(80))


@asynccontextmanager
async def prepare(_: FastAPI) -> AsyncIterator[None]:
    """Make the tables, at the writer."""
    Model.metadata.create_all(WRITER)
    yield
    WRITER.dispose()
    READER.dispose()


def writing() -> Iterator[Session]:
    """A session of the writer."""
    with Session(WRITER) as session:
        yield session


def reading() -> Iterator[Session]:
    """A session of the reader."""
    with Session(READER) as session:
        yield session


Writing = Annotated[Session, Depends(writing)]
Reading = Annotated[Session, Depends(reading)]
app = FastAPI(lifespan=prepare)


@app.get("/get")
def create_and_select(writer: Writing, reader: Reading) -> list[dict[str, object]]:
    """Insert a user through the writer and select it at once through the reader. An empty list is a stale read."""
    email = f"{uuid.uuid4()}@example.test"
    writer.add(User(email=email, password=str(uuid.uuid4())))
    writer.commit()
    found = reader.scalars(select(User).where(User.email == email))
    return [{"id": one.id, "email": one.email} for one in found]


@app.get("/health")
def health() -> dict[str, str]:
    """Whether it takes requests."""
    return {"status": "ok"}
