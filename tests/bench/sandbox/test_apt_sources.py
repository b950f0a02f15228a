from __future__ import annotations

from bench.sandbox.apt_sources import Mirror, find_mirror, first_uri, list_file, source_text

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

DEB822 = f"""\
# a comment before
Types: deb
URIs: https://vendor.example/debian
Suites: nodistro
Components: main

Types: deb deb-src
# a comment within
URIs: http://mirror.example/debian http://second.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: {KEYRING}

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""


def test_the_debian_stanza_of_a_deb822_file_is_found_among_others() -> None:
    assert find_mirror([("debian.sources", DEB822)]) == Mirror(
        "http://mirror.example/debian", (("signed-by", KEYRING),)
    )


def test_a_security_archive_is_not_a_mirror() -> None:
    assert find_mirror([("sources.list", "deb http://mirror.example/debian-security bookworm-security main")]) is None


def test_a_disabled_stanza_does_not_count() -> None:
    assert find_mirror([("debian.sources", DEB822.replace("Types: deb deb-src", "Enabled: no\nTypes: deb"))]) is None


def test_a_one_line_source_is_read_with_its_options() -> None:
    text = (
        "# deb http://old.example/debian trixie main\n"
        "deb-src http://mirror.example/debian trixie main\n"
        "deb [arch=amd64 signed-by=/etc/apt/keyrings/a.gpg] http://mirror.example/debian trixie main # why\n"
    )
    assert find_mirror([("a.list", text)]) == Mirror(
        "http://mirror.example/debian", (("signed-by", "/etc/apt/keyrings/a.gpg"),)
    )


def test_a_one_line_source_without_options_is_read() -> None:
    assert find_mirror([("a.list", "deb http://mirror.example/debian stable main")]) == Mirror(
        "http://mirror.example/debian", ()
    )


def test_another_distribution_is_no_mirror() -> None:
    assert (
        find_mirror(
            [("a.list", "deb http://archive.example/ubuntu noble main"), ("b.sources", "garbage\n\nwithout: fields")]
        )
        is None
    )


VENDOR = "Types: deb\nURIs: https://vendor.example/apt\nSuites: stable\nComponents: main\nSigned-By: /vendor.gpg\n"


def test_a_third_party_does_not_pass_for_debian() -> None:
    line = "deb http://mirror.example/debian {} main"
    for own in (
        ("sources.list", line.format("bookworm")),
        ("sources.list", line.format("stable")),
        ("zz.list", line.format("trixie-updates")),
        ("debian.sources", DEB822),
        ("zz.sources", DEB822),
    ):
        mirror = find_mirror([("a.sources", VENDOR), own])
        assert mirror is not None
        assert mirror.uri == "http://mirror.example/debian", own


def test_a_list_of_mirrors_is_followed_to_its_first() -> None:
    assert list_file("mirror+file:/etc/apt/mirrors/debian.list") == "/etc/apt/mirrors/debian.list"
    assert list_file("mirror+file:///etc/apt/mirrors/debian.list") == "/etc/apt/mirrors/debian.list"
    assert list_file("http://mirror.example/debian") == ""
    assert first_uri("# ours\n\nhttp://one.example/debian\tpriority:1\nhttp://two.example/debian\n") == (
        "http://one.example/debian"
    )
    assert first_uri("# none\n") == ""


def test_the_source_for_unstable_keeps_the_mirror_and_its_key() -> None:
    text = source_text(Mirror("http://mirror.example/debian", (("signed-by", KEYRING),)), "sid")
    assert text.splitlines() == [
        "Types: deb",
        "URIs: http://mirror.example/debian",
        "Suites: sid",
        "Components: main",
        f"Signed-By: {KEYRING}",
    ]


def test_an_embedded_key_survives_reading_and_writing() -> None:
    key = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----"
    mirror = find_mirror(
        [("m.sources", f"Types: deb\nURIs: http://m.example/d\nSuites: trixie\nComponents: main\n{key}\n")]
    )
    assert mirror is not None
    assert source_text(mirror, "sid").endswith(f"{key}\n")
