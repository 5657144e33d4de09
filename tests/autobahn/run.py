r"""The 517 cases of the Autobahn TestSuite against examples/echo.rs: the service's event loop, connections and queues.

    tests/autobahn/run [raised | service]…

Two runs. `raised` has limits of 16 MiB, which section 9 needs; raised.txt has the expected result of each case. `service`
has the service's default limits; service.txt lists the cases whose result differs then, and why. A case with any other
result than the expected one, better or worse, fails.

The cases are those of the original suite, run by `kosoku`. With Docker, the original can judge:

    cargo run --example echo -- --compression --message-bytes 16777216 --fragments 1048576
    docker run --rm --network host -v "$PWD/tests/autobahn:/spec" -v "$PWD/target/autobahn:/reports" \
        crossbario/autobahn-testsuite wstest --mode fuzzingclient --spec /spec/fuzzingclient.json
"""

import collections
import json
import re
import select
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
    """The expected result of each case."""
    expected = read(HERE / "raised.txt")
    if run != "raised":
        expected |= read(HERE / f"{run}.txt")
    return expected


def read(path: Path) -> dict[str, str]:
    """A file of lines `case behaviour`; `#` begins a comment."""
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return dict(line.split(" ", 1) for line in lines if line)


def results_of(run: str) -> dict[str, str]:
    """Runs every case and returns its result."""
    arguments = [ECHO, "--address", "127.0.0.1:0", "--compression", *RUNS[run]]
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as echo:
        try:
            address = first_line(echo)
            kosoku = [Path(sys.executable).parent / "kosoku", "--parallelism", "4", "--outdir", folder, address]
            # Its exit code does not matter: a failed case may be expected.
            subprocess.run(kosoku, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            (cases,) = json.loads(Path(folder, "index.json").read_text()).values()
        finally:
            echo.terminate()
    if echo.returncode != 0:
        sys.exit(f"the echo server ended with {echo.returncode}")
    return {case: behaviour(result) for case, result in cases.items()}


def first_line(process: subprocess.Popen) -> str:
    """Its first line, or an error if there is none within half a minute."""
    ready, _, _ = select.select([process.stdout], [], [], 30)
    if not ready:
        sys.exit("the echo server does not print its address")
    return process.stdout.readline().strip()


def behaviour(result: dict) -> str:
    """The suite's verdict on a case, on its closing if that differs, and the server's close code if the case failed."""
    opened, closed, code = result["behavior"], result["behaviorClose"], result["remoteCloseCode"]
    text = opened if opened == closed else f"{opened}, close {closed}"
    return f"{text}, closed with {code}" if opened == "FAILED" else text


def table(results: dict[str, str]) -> None:
    """The number of each result, by section."""
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
