"""The Debian package: built, unpacked and inspected."""

import gzip
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def run(*command, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def package() -> Path:
    built = run(ROOT / "deploy" / "debian" / "build")
    assert built.returncode == 0, built.stderr
    return Path(built.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def unpacked(package, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    assert run("dpkg-deb", "--raw-extract", package, folder).returncode == 0
    return folder


def test_the_program_is_there_and_runs(unpacked):
    version = run(unpacked / "usr/bin/airlay-cli", "--version")
    assert version.returncode == 0
    control = (unpacked / "DEBIAN/control").read_text()
    number = version.stdout.split()[1]
    assert f"Version: {number}-" in control and "Package: airlay-cli\n" in control


def test_an_upgrade_keeps_the_configuration(unpacked):
    assert (unpacked / "DEBIAN/conffiles").read_text() == "/etc/airlay/config.ini\n"
    config = unpacked / "etc/airlay/config.ini"
    assert config.read_bytes() == (ROOT / "config.ini").read_bytes()
    checked = run(unpacked / "usr/bin/airlay-cli", "web_socket", "check-config", "--config", config)
    assert checked.returncode == 2
    assert "publicKey" in checked.stderr and "mode" in checked.stderr


def test_the_units_and_the_user_that_they_run_as(unpacked):
    units = unpacked / "usr/lib/systemd/system"
    assert {unit.name for unit in units.iterdir()} == {
        "airlay.service",
        "airlay-websocket.socket",
        "airlay-events.socket",
    }
    assert "User=airlay\n" in (units / "airlay.service").read_text()
    users = run("systemd-sysusers", "--dry-run", f"--root={unpacked}", unpacked / "usr/lib/sysusers.d/airlay.conf")
    assert users.returncode == 0, users.stderr
    for script in ["postinst", "prerm", "postrm"]:
        assert run("sh", "-n", unpacked / "DEBIAN" / script).returncode == 0
    postinst = (unpacked / "DEBIAN/postinst").read_text()
    assert "systemd-sysusers" in postinst
    # Nothing starts before it is configured; an upgrade restarts a running service and keeps the sockets.
    assert "try-restart airlay.service" in postinst and "try-restart airlay-" not in postinst


def test_the_documentation_and_the_licences_come_along(unpacked):
    folder = unpacked / "usr/share/doc/airlay-cli"
    assert (folder / "copyright").read_text() == (ROOT / "deploy/debian/copyright").read_text()
    shipped = {page.relative_to(folder / "docs") for page in (folder / "docs").rglob("*.md")}
    assert shipped == {page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")}


def test_every_command_has_its_page_of_the_manual(unpacked):
    pages = {page.name for page in (unpacked / "usr/share/man/man1").iterdir()}
    commands = ["server", "demo", "publish", "listen", "token", "check-config"]
    assert pages == {"airlay-cli.1.gz", "airlay-cli-web_socket.1.gz"} | {
        f"airlay-cli-web_socket-{command}.1.gz" for command in commands
    }
    with gzip.open(unpacked / "usr/share/man/man1/airlay-cli-web_socket-server.1.gz", "rt") as page:
        assert "--config" in page.read().replace("\\-", "-")


def test_the_shell_completes_the_commands(unpacked):
    completion = unpacked / "usr/share/bash-completion/completions/airlay-cli"
    # complete -p prints: complete … -F FUNCTION airlay-cli
    script = (
        f"source {completion}; COMP_WORDS=(airlay-cli web_socket ch) COMP_CWORD=2;"
        "read -ra made < <(complete -p airlay-cli); ${made[-2]} airlay-cli ch web_socket; echo ${COMPREPLY[@]}"
    )
    completed = run("bash", "-c", script, env={"PATH": os.environ["PATH"]})
    assert completed.stdout == "check-config\n", completed.stderr
