"""What a container build is told of this machine's package sources."""

from __future__ import annotations

import configparser

from bench.setup.build_settings import BuildSettings, Share, build_settings

PIP = """\
global.extra-index-url='file:///srv/index/simple https://user:pa%24%@index.example/simple'
global.index-url='https://global.example/simple'
install.index-url='https://install.example/simple'
:env:.find-links='/srv/wheels\\n/srv/more'
global.cert='/etc/ssl/certs/all.crt'
global.user='true'
freeze.timeout='10'
"""
APT = """\
Acquire "";
Acquire::https::CaInfo "/etc/ssl/apt.crt";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::Languages:: "none";
Acquire::cdrom::mount "/media/cdrom/";
Acquire::IndexTargets::deb::Packages::MetaKey "x";
Acquire::Changelogs::URI::Origin::Debian "https://elsewhere.example";
APT::Update::Post-Invoke:: "rm -rf /";
"""


def pip_options(settings: BuildSettings) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    parser.read_string(settings.pip_conf)
    return dict(parser["global"])


def test_pip_gets_locations_and_trust_and_nothing_else() -> None:
    assert pip_options(build_settings(PIP, "", {})) == {
        "extra-index-url": "file:///srv/index/simple https://user:pa%24%@index.example/simple",
        "index-url": "https://install.example/simple",
        "find-links": "/srv/wheels /srv/more",
        "cert": "/run/host/0",
    }


def test_local_directories_keep_their_paths_and_certificates_do_not() -> None:
    shares = build_settings(PIP, "", {}).shares
    assert set(shares) == {
        Share("/etc/ssl/certs/all.crt", "/run/host/0"),
        Share("/srv/index", "/srv/index"),
        Share("/srv/wheels", "/srv/wheels"),
        Share("/srv/more", "/srv/more"),
    }


def test_the_environment_wins_over_a_file() -> None:
    pip = "global.index-url='https://file.example'\n:env:.index-url='https://environment.example'\n"
    assert pip_options(build_settings(pip, "", {}))["index-url"] == "https://environment.example"


def test_certificates_of_the_environment_serve_where_pip_is_told_of_none() -> None:
    settings = build_settings("", "", {"REQUESTS_CA_BUNDLE": "/a.crt", "CURL_CA_BUNDLE": "/b.crt"})
    assert settings.shares == (Share("/a.crt", "/run/host/0"),)
    assert pip_options(settings) == {"cert": "/run/host/0"}


def test_a_machine_with_no_settings_gives_none() -> None:
    assert build_settings("", "", {}) == BuildSettings("[global]\n", "", ())


def test_apt_gets_transfer_settings_and_no_hooks() -> None:
    settings = build_settings("", APT, {})
    assert settings.apt_conf.splitlines() == [
        'Acquire::https::CaInfo "/run/host/0";',
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::Languages:: "none";',
        'Acquire::cdrom::mount "/media/cdrom/";',
    ]
    assert settings.shares == (Share("/etc/ssl/apt.crt", "/run/host/0"),)
