"""This machine's settings for fetching packages, as a container build gets them: pip's and apt's, by mounted files.

Decides only. The Dockerfile knows no index, mirror, proxy or certificate; whoever builds brings them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

# Of pip's settings those about where packages come from and whom to trust; the rest is taste, or about the host.
PIP_LOCATIONS = ("index-url", "extra-index-url", "find-links")
PIP_CERTIFICATES = ("cert", "client-cert")
PIP_OTHERS = ("trusted-host", "proxy", "no-index", "timeout", "default-timeout", "retries")
# What requests, in pip, takes certificates from where pip is told nothing.
CERTIFICATE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
# Of apt's transfer settings these describe the archive, not the way to it.
APT_NOT_TRANSFER = ("Acquire::IndexTargets", "Acquire::Changelogs", "Acquire::CompressionTypes")
# Certificates are mounted here: mounted over the usual bundle they would be in the way of the package that writes it.
CERTIFICATES = "/run/host"


@dataclass(frozen=True, slots=True)
class Share:
    """A file or directory of this machine that the build sees, read-only."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """What a build is given: the texts of two configuration files, and what they refer to."""

    pip_conf: str
    apt_conf: str
    shares: tuple[Share, ...]


def build_settings(pip_config: str, apt_config: str, environment: Mapping[str, str]) -> BuildSettings:
    """Return the settings of a build.

    Args:
        pip_config: what `pip config list` prints, variables included.
        apt_config: what `apt-config dump Acquire` prints.
        environment: of this process.
    """
    shares: dict[str, Share] = {}
    options = _pip_options(pip_config.splitlines())
    if "cert" not in options:
        bundles = [environment[name] for name in CERTIFICATE_VARIABLES if environment.get(name)]
        if bundles:
            options["cert"] = bundles[0]
    for name in PIP_CERTIFICATES:
        if name in options:
            options[name] = _share_certificate(options[name], shares)
    for name in PIP_LOCATIONS:
        for location in options.get(name, "").split():
            if path := _local_path(location):
                # The pages of an index link to files beside it.
                shared = path if name == "find-links" else _beside(path)
                shares[shared] = Share(shared, shared)
    lines = [f"{name} = {' '.join(value.split())}" for name, value in options.items()]
    apt_lines = [_apt_line(line, shares) for line in apt_config.splitlines() if _is_transfer(line)]
    return BuildSettings("\n".join(["[global]", *lines, ""]), "\n".join([*apt_lines, ""]), tuple(shares.values()))


def _pip_options(lines: Iterable[str]) -> dict[str, str]:
    """Options by name; of several places the environment wins, as it does for pip."""
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in lines:
        key, equals, value = line.partition("=")
        section, dot, name = key.strip().partition(".")
        if not (equals and dot and section in found):
            continue
        if name in (*PIP_LOCATIONS, *PIP_CERTIFICATES, *PIP_OTHERS):
            found[section][name] = str(ast.literal_eval(value.strip()))
    return {**found["global"], **found["install"], **found[":env:"]}


def _local_path(location: str) -> str | None:
    if location.startswith("/"):
        return location
    parts = urlsplit(location)
    return unquote(parts.path) if parts.scheme == "file" else None


def _beside(path: str) -> str:
    parent = str(PurePosixPath(path).parent)
    return path if parent == "/" else parent


def _share_certificate(path: str, shares: dict[str, Share]) -> str:
    share = shares.setdefault(path, Share(path, f"{CERTIFICATES}/{len(shares)}"))
    return share.target


def _is_transfer(line: str) -> bool:
    return line.startswith("Acquire::") and not line.startswith(APT_NOT_TRANSFER)


def _apt_line(line: str, shares: dict[str, Share]) -> str:
    name, _, value = line.partition(" ")
    path = value.rstrip(";").strip('"')
    # https' CaInfo, SslCert and SslKey; a directory such as the mount point of a CD is of no use in a build.
    if name.startswith("Acquire::http") and path.startswith("/"):
        return f'{name} "{_share_certificate(path, shares)}";'
    return line
