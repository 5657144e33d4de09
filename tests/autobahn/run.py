r"""The Autobahn TestSuite's 517 cases against examples/echo.rs: the service's event loop, connections and queues.

    tests/autobahn/run [raised | service]…

Two runs. `raised`: with limits of 16 MiB, which section 9 needs; what each case is expected to come to is in raised.txt.
`service`: with the service's default limits; service.txt lists the cases that come to something else then, and why.
A case that comes to anything else than expected, better or worse, is failed.

The cases are those of the original suite, run by `kosoku`. Who has Docker can let the original judge:

    cargo run --example echo -- --compression --message-bytes 16777216 --fragments 1048576
    docker run --rm --network host -v "$PWD/tests/autobahn:/spec" -v "$PWD/target/autobahn:/reports" \
        crossbario/autobahn-testsuite wstest --mode fuzzingclient --spec /spec/fuzzingclient.json
"""

import collections
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ECHO = HERE.parent.parent / "target/debug/examples/echo"
RUNS = {
    "raised": ["--message-bytes", str(16 << 20), "--fragments", str(1 << 20)],
    "service": [],
}


def main() -> int:
    failed = 0
    for run in sys.argv[1:] or RUNS:
        expected, results = expected_of(run), results_of(run)
        print(f"Autobahn TestSuite, {run} limits:")
        table(results)
        differences = {
            case: f"{results.get(case, 'not run')}, expected {expected.get(case, 'nothing')}"
            for case in sorted(expected.keys() | results.keys(), key=order)
            if results.get(case) != expected.get(case)
        }
        for case, difference in differences.items():
            print(f"case {case}: {difference}")
        print(f"{len(expected.keys() | results.keys()) - len(differences)} passed, {len(differences)} failed", flush=True)
        failed += len(differences)
    return 1 if failed else 0


def expected_of(run: str) -> dict[str, str]:
    """What each case is expected to come to."""
    expected = read(HERE / "raised.txt")
    if run != "raised":
        expected |= read(HERE / f"{run}.txt")
    return expected


def read(path: Path) -> dict[str, str]:
    """A file of lines `case behaviour`; `#` begins a comment."""
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return dict(line.split(" ", 1) for line in lines if line)


def results_of(run: str) -> dict[str, str]:
    """Runs every case and says what it came to."""
    arguments = [ECHO, "--address", "127.0.0.1:0", "--compression", *RUNS[run]]
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as echo:
        try:
            address = echo.stdout.readline().strip()
            kosoku = [Path(sys.executable).parent / "kosoku", "--parallelism", "4", "--outdir", folder, address]
            # It fails when a case does. What we expect of each is another matter.
            subprocess.run(kosoku, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            (cases,) = json.loads(Path(folder, "index.json").read_text()).values()
        finally:
            echo.terminate()
    if echo.returncode != 0:
        sys.exit(f"the echo server ended with {echo.returncode}")
    return {case: behaviour(result) for case, result in cases.items()}


def behaviour(result: dict) -> str:
    """What the suite says of a case; of its closing too if that is something else; and if it failed, the server's code."""
    opened, closed, code = result["behavior"], result["behaviorClose"], result["remoteCloseCode"]
    text = opened if opened == closed else f"{opened}, close {closed}"
    return f"{text}, closed with {code}" if opened == "FAILED" else text


def table(results: dict[str, str]) -> None:
    """How often each result came, by section."""
    sections = collections.defaultdict(collections.Counter)
    for case, result in results.items():
        sections[order(case)[0]][result] += 1
    for section, counts in sorted(sections.items()):
        parts = ", ".join(f"{count} {result}" for result, count in counts.most_common())
        print(f"  section {section:2}: {sum(counts.values()):3} cases: {parts}")


def order(case: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", case)]


if __name__ == "__main__":
    sys.exit(main())
