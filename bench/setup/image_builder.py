"""Builds and runs container images with a private `buildah`, on a base image made from Debian's packages.

Each command runs in mount and process namespaces of its own, so that nothing stays mounted and nothing goes on
running however the command ends. Images are kept below the cache directory, where the next build finds its layers."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.sandbox.apt_sources import Mirror
from bench.sandbox.layout import locked, write_atomically
from bench.sandbox.private_root import host_mirror
from bench.sandbox.programs import need_program, run_program
from bench.setup.build_settings import PROXY_VARIABLES, Share, build_settings
from bench.setup.builder_root import SUITE, ensure_builder_root

BUILDAH = ("buildah", "--storage-driver", "vfs")
# The storage driver copies whole images. Above this many, those of earlier builds are removed; one build has about 18.
IMAGES_KEPT = 24
BASE_IMAGE = f"debian:{SUITE}-slim"

# Arguments: root, storage, pairs of a path here and a name below /host, `--`, command.
ENTER = """set -eu
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
for name in host run tmp; do mount -t tmpfs tmpfs "$name"; done
mount --bind "$2" var/lib/containers
for name in hosts resolv.conf; do [ ! -e "/etc/$name" ] || mount --bind "/etc/$name" "etc/$name"; done
shift 2
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mkdir "host/$2"; else : >"host/$2"; fi
    mount --bind -o ro "$1" "host/$2"
    shift 2
done
shift
exec chroot . "$@"
"""

# Arguments: mirror, suite, image, options of debootstrap.
MAKE_BASE = """set -eu
mirror=$1 suite=$2 image=$3
shift 3
container=$(buildah --storage-driver vfs from scratch)
mounted=$(buildah --storage-driver vfs mount "$container")
debootstrap --variant=minbase "$@" "$suite" "$mounted" "$mirror" >/tmp/log 2>&1 || { tail -n 15 /tmp/log >&2; exit 1; }
rm -rf "$mounted"/var/cache/apt/archives/*.deb "$mounted"/var/lib/apt/lists/*
# What "slim" means: no documentation and no translations, now or from packages to come.
for name in doc info locale man; do
    rm -rf "$mounted/usr/share/$name"/*
    echo "path-exclude /usr/share/$name/*" >>"$mounted/etc/dpkg/dpkg.cfg.d/slim"
done
buildah --storage-driver vfs commit --quiet --rm "$container" "$image"
"""


@dataclass(frozen=True, slots=True)
class ImageBuilder:
    """A private buildah and its images. Made by `image_builder`."""

    root: Path
    storage: Path
    mirror: Mirror
    progress: Callable[[str], None]

    def buildah(self, *arguments: str, shares: Sequence[Share] = ()) -> str:
        """Run buildah and return what it printed.

        Args:
            arguments: of buildah.
            shares: what of this machine it sees, each under a name below /host.

        Raises:
            SandboxError: it failed; says the end of what it printed.
        """
        return self._enter([*BUILDAH, *arguments], shares)

    def ensure_base(self) -> None:
        """Make the base image if it is not there: a minimal Debian with the name that the Dockerfile asks for."""
        if self.buildah("images", "--quiet", "--filter", f"reference={BASE_IMAGE}").strip():
            return
        self.progress(f"making the base image {BASE_IMAGE} with debootstrap")
        options = ["--no-check-gpg"] if ("trusted", "yes") in self.mirror.trust else []
        self._enter(["bash", "-c", MAKE_BASE, "make-base", self.mirror.uri, SUITE, BASE_IMAGE, *options], ())

    def build(self, context: Path, tag: str) -> None:
        """Build the Dockerfile of a directory.

        Args:
            context: the directory.
            tag: the name of the image.
        """
        self.ensure_base()
        images = len(self.buildah("images", "--all", "--quiet").split())
        self.progress(f"building {tag}: {images} images and layers are there")
        with tempfile.TemporaryDirectory() as scratch:
            volumes, shares = self._settings(Path(scratch))
            shares = [*shares, Share(str(context), "context")]
            options = ["--isolation", "chroot", "--layers", "--pull-never", *volumes]
            self.buildah("build", *options, "--tag", tag, "/host/context", shares=shares)
            if images > IMAGES_KEPT:
                self.progress("removing layers of earlier builds")
                # The stage before the last has no name, and would go with them.
                self.buildah(
                    "build", *options, "--target", "build", "--tag", f"{tag}-build", "/host/context", shares=shares
                )
                self.buildah("rmi", "--prune")

    @contextmanager
    def container(self, image: str) -> Iterator[Callable[..., str]]:
        """Yield a function that runs a command in a container of an image, as the image's user."""
        name = self.buildah("from", "--pull-never", image).strip()

        def run(*command: str) -> str:
            return self.buildah("run", "--isolation", "chroot", name, "--", *command)

        try:
            yield run
        finally:
            self.buildah("rm", name)

    def _settings(self, scratch: Path) -> tuple[list[str], list[Share]]:
        """Write the build's configuration files; return buildah's options for them, and what they need of here."""
        pip_config = run_program([sys.executable, "-m", "pip", "config", "list"])
        apt_config = run_program([need_program("apt-config", "apt"), "dump", "Acquire"])
        settings = build_settings(pip_config, apt_config, os.environ)
        options = "[trusted=yes] " if ("trusted", "yes") in self.mirror.trust else ""
        # Addresses of indexes and proxies may hold passwords.
        texts = {
            "pip.conf": ("/etc/pip.conf", settings.pip_conf),
            "apt.conf": ("/etc/apt/apt.conf.d/99host", settings.apt_conf),
            "sources.list": ("/etc/apt/sources.list", f"deb {options}{self.mirror.uri} {SUITE} main\n"),
        }
        wanted: list[Share] = []
        for name, (target, text) in texts.items():
            write_atomically(scratch / name, text, 0o600)
            wanted.append(Share(str(scratch / name), target))
        wanted += [share for share in settings.shares if Path(share.source).exists()]
        volumes: list[str] = []
        shares: list[Share] = []
        for number, share in enumerate(wanted):
            shares.append(Share(share.source, str(number)))
            volumes += ["--volume", f"/host/{number}:{share.target}:ro"]
        return volumes, shares

    def _enter(self, command: Sequence[str], shares: Sequence[Share]) -> str:
        # Whatever ends this process ends `unshare`, which ends all in its namespace.
        tied = [need_program("setpriv", "util-linux"), "--pdeathsig", "KILL", need_program("unshare", "util-linux")]
        namespaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
        pairs = [word for share in shares for word in (share.source, share.target)]
        proxies = [f"{name}={os.environ[name]}" for name in PROXY_VARIABLES if name in os.environ]
        variables = ["PATH=/usr/sbin:/usr/bin", "HOME=/run", "LC_ALL=C.UTF-8", *proxies]
        enter = ["sh", "-c", ENTER, "enter", str(self.root), str(self.storage), *pairs, "--"]
        return run_program([*tied, *namespaces, *enter, "env", "-i", *variables, *command])


@contextmanager
def image_builder(cache: Path, progress: Callable[[str], None]) -> Iterator[ImageBuilder]:
    """Yield the builder whose images are below a directory; another one on the same directory waits.

    Args:
        cache: the directory.
        progress: is told what takes time.

    Raises:
        SandboxError: it cannot be made here; says what is missing.
    """
    mirror = host_mirror("as every Debian machine has")
    root = ensure_builder_root(cache, mirror, progress)
    storage = cache / "images"
    storage.mkdir(parents=True, exist_ok=True)
    with locked(cache / "images.lock"):
        builder = ImageBuilder(root, storage, mirror, progress)
        # Left by one that was killed.
        builder.buildah("rm", "--all")
        yield builder
