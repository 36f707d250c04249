#!/usr/bin/env python3
"""Runs the guest tests (tests/guest/*.test; README.md beside this file has the format) and the examples of docs/*.md.

  tests/guest/run.py -k 6.12 [--filter REGEX] [-v]

This one file is used on both sides: outside it chooses the cases, boots the guest and counts; with --inside, in the
guest, it runs them. What goes between the two is one line of JSON a case on the guest's stdout.
"""
import argparse
import dataclasses
import functools
import glob
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

HERE = os.path.dirname(os.path.realpath(__file__))
LAST = f"{HERE}/lockdown.test"            # the guest is not the same afterwards
# They take many minutes: on all kernels, or when asked for by --filter.
LONG = {f"{HERE}/sweep.test", f"{HERE}/churn.test"}
GUEST_TESTS = "/tests"          # where the guest sees tests/
PROGRAMS = "/opt/programs"      # where it has what is built of programs/
ATTACHED = "__BPFTRACE_NOTIFY_PROBES_ATTACHED"
BOOT_ALLOWANCE = 120            # seconds, for the guest as a whole
KERNELS = ("5.10", "6.1", "6.12", "6.18", "7.2")


# ---- cases -----------------------------------------------------------------------------------

@dataclass
class Case:
    file: str
    line: int
    name: str
    run: list[str] = field(default_factory=list)
    expect: list[str] = field(default_factory=list)
    expect_text: list[str] = field(default_factory=list)
    expect_not: list[str] = field(default_factory=list)
    expect_err: list[str] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)
    cleanup: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    background: str = ""
    interrupt: float | None = None
    exit: int = 0
    timeout: float = 20
    kernel: str = ""
    # Of examples: the files in the folder where RUN runs, the whole of stdout, the whole of stderr, the errors.
    files: dict[str, str] = field(default_factory=dict)
    output: str | None = None
    messages: str | None = None
    errors: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{self.file}: {self.name}"

    @property
    def text(self) -> str:
        return "\n".join([*self.run, *self.setup, *self.after, self.background, *self.files.values()])

    @property
    def longest(self) -> float:
        """Seconds that the case may take, with all its lines."""
        return self.timeout + 10 * (len(self.setup) + len(self.cleanup)) + 5


CONDITION = re.compile(r"(>=|<=|>|<|=)?(\d+)\.(\d+)")


def parse(path: str) -> list[Case]:
    """The cases of one file; a mistake in it ends the run with its place."""
    with open(path) as f:
        lines = f.read().split("\n")
    file = os.path.basename(path).removesuffix(".test")
    cases: list[Case] = []
    open_case = False
    at = 0
    while at < len(lines):
        number, text = at + 1, lines[at]
        at += 1
        while text.endswith("\\") and at < len(lines):
            text = text[:-1].rstrip() + " " + lines[at].strip()
            at += 1
        if not text.strip():
            open_case = False
        if not text.strip() or text.startswith("#"):
            continue
        word, _, rest = text.strip().partition(" ")
        key, rest = word.lower(), rest.strip()

        def wrong(why: str) -> None:
            sys.exit(f"{path}:{number}: {why}")

        if key == "name":
            if any(c.name == rest for c in cases):
                wrong(f"there is a case named '{rest}' above")
            cases.append(Case(file, number, rest))
            open_case = True
            continue
        if not open_case:
            wrong(f"{word} before NAME: a case begins with NAME, and a blank line ends it")
        case = cases[-1]
        try:
            if key in ("run", "expect", "expect_text", "expect_not", "expect_err", "setup", "cleanup", "after"):
                getattr(case, key).append(rest)
                if key in ("expect", "expect_not", "expect_err"):
                    re.compile(rest)
            elif key in ("exit", "timeout", "interrupt"):
                setattr(case, key, int(rest) if key == "exit" else float(rest))
            elif key == "background":
                case.background = rest
            elif key == "kernel":
                if not all(CONDITION.fullmatch(c) for c in rest.split()):
                    wrong(f"KERNEL {rest}: write conditions such as >=5.17 <6.12")
                case.kernel = rest
            else:
                wrong(f"unknown word {word}; tests/guest/README.md has the list")
        except (ValueError, re.error) as e:
            wrong(f"{word} {rest}: {e}")
    for case in cases:
        if not case.run:
            sys.exit(f"{path}:{case.line}: '{case.name}' has no RUN")
    return cases


def examples(path: str) -> list[Case]:
    """The examples of a page of the manual, as cases; `docs/README.md` says how they are written."""
    with open(path) as f:
        text = f.read()
    file = "docs/" + os.path.basename(path)
    cases: list[Case] = []
    files: dict[str, str] = {}
    heading = ""
    commands: Case | None = None        # shell commands, a case if their output follows
    for m in re.finditer(r"^(#+ (?P<heading>.+)|```(?P<info>\S.*)\n(?P<body>(?s:.*?))^```)$", text, re.M):
        if m["heading"]:
            heading = m["heading"]
            continue
        line = text.count("\n", 0, m.start()) + 1
        tag, *words = shlex.split(m["info"])
        if tag in ("text", "json", "stderr") and commands:
            cases.append(commands)
        commands = Case(file, line, f"{heading} ({line})", run=[m["body"]], files=dict(files)) if tag == "sh" else None
        if tag == "rtrace":
            named = [w.removeprefix("file=") for w in words if w.startswith("file=")]
            if named:
                files[named[0]] = m["body"]
                continue
            case = Case(file, line, f"{heading} ({line})", files={**files, "example.rt": m["body"]})
            case.kernel = " ".join(w.removeprefix("linux") for w in words if w.startswith("linux"))
            words = [w for w in words if not w.startswith("linux")]
            for word, option in (("attaches", ["--dry-run"]), ("compiles", ["--emit", "bundle", "-o", "x"])):
                if word in words:
                    words = option + [w for w in words if w != word]
                    case.output = ""
            case.run = [shlex.join(["rtrace", "example.rt", *words])]
            cases.append(case)
        elif tag in ("text", "json"):
            cases[-1].output = m["body"]
        elif tag == "stderr":
            cases[-1].messages = m["body"]
            cases[-1].output = cases[-1].output or ""
        elif tag == "error":
            cases[-1].errors, cases[-1].exit = words, 1
    return cases


def all_cases(pattern: str, long: bool) -> list[Case]:
    paths = sorted(set(glob.glob(f"{HERE}/*.test")) - {LAST} - (set() if long else LONG))
    cases = [c for path in paths for c in parse(path)]
    pages = sorted(set(glob.glob(f"{HERE}/../../docs/*.md")) - set(glob.glob(f"{HERE}/../../docs/functions.md")))
    cases += [c for path in pages for c in examples(path)] + parse(LAST)
    return [c for c in cases if re.search(pattern, c.title)]


def suits(condition: str, kernel: str) -> bool:
    found = re.match(r"(\d+)\.(\d+)", kernel)
    assert found, kernel
    have = (int(found[1]), int(found[2]))
    for part in condition.split():
        m = CONDITION.fullmatch(part)
        assert m, part
        want = (int(m[2]), int(m[3]))
        if not {">=": have >= want, "<=": have <= want, ">": have > want, "<": have < want}.get(m[1], have == want):
            return False
    return True


# ---- inside the guest ------------------------------------------------------------------------

class Process:
    """A shell line in a process group of its own, whose output is gathered while it runs."""

    def __init__(self, script: str, env: dict[str, str], cwd: str):
        self.out: list[bytes] = []
        self.err: list[bytes] = []
        self.attached = threading.Event()
        self.popen = subprocess.Popen(["bash", "-c", script], env=env, cwd=cwd, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        self.readers = [threading.Thread(target=self.read, args=pair, daemon=True)
                        for pair in ((self.popen.stdout, self.out), (self.popen.stderr, self.err))]
        for reader in self.readers:
            reader.start()

    def read(self, stream, lines: list[bytes]) -> None:
        for line in stream:
            if line.strip() == ATTACHED.encode():
                self.attached.set()
            else:
                lines.append(line)

    def signal(self, number: int) -> None:
        try:
            os.killpg(self.popen.pid, number)
        except ProcessLookupError:
            pass

    def wait(self, deadline: float) -> bool:
        """Waits for the end, until the deadline; what is left of the group is killed then. False: it was too late."""
        in_time = True
        try:
            self.popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            in_time = False
        self.signal(signal.SIGKILL)
        self.popen.wait()
        for reader in self.readers:
            reader.join(2)          # something that left the group may still hold the pipe
        return in_time

    def text(self) -> tuple[str, str]:
        return b"".join(self.out).decode(errors="replace"), b"".join(self.err).decode(errors="replace")


def shell(lines: list[str], env: dict[str, str], cwd: str, seconds: float) -> str:
    """Runs lines one by one; tells what went wrong, or nothing."""
    for line in lines:
        process = Process(line, env, cwd)
        in_time = process.wait(time.monotonic() + seconds)
        if not in_time or process.popen.returncode != 0:
            how = f"exit {process.popen.returncode}" if in_time else f"not done in {seconds:g} s"
            return f"`{line}`: {how}\n{''.join(process.text())}"
    return ""


def perform(case: Case) -> dict:
    """Runs one case. The result tells what was wrong (an empty list: it passed) and the output."""
    problems: list[str] = []
    out = err = ""
    cwd = tempfile.mkdtemp(prefix="case-")
    for name, text in case.files.items():
        with open(f"{cwd}/{name}", "w") as f:
            f.write(text)
    env = {**os.environ, "TESTS": GUEST_TESTS, "TMPDIR": cwd, "PROGRAMS": PROGRAMS}
    background = None
    start = time.monotonic()
    try:
        if wrong := shell(case.setup, env, cwd, 10):
            problems.append(f"SETUP {wrong}")
        else:
            if case.background:
                background = Process(case.background, env, cwd)
                env["PID"] = str(background.popen.pid)
            out, err = run_main(case, env, cwd, problems)
    finally:
        if background:
            background.signal(signal.SIGKILL)
            background.wait(time.monotonic() + 2)
        if wrong := shell(case.cleanup, env, cwd, 10):
            problems.append(f"CLEANUP {wrong}")
        shutil.rmtree(cwd, ignore_errors=True)
    return {"problems": problems, "out": out, "err": err, "seconds": time.monotonic() - start}


def run_main(case: Case, env: dict[str, str], cwd: str, problems: list[str]) -> tuple[str, str]:
    awaits = bool(case.after) or case.interrupt is not None
    if awaits:
        env = {**env, ATTACHED: "1"}
    deadline = time.monotonic() + case.timeout
    main = Process("\n".join(case.run), env, cwd)
    if awaits:
        while not main.attached.wait(0.05) and main.popen.poll() is None and time.monotonic() < deadline:
            pass
        if not main.attached.wait(0.2):
            problems.append(f"no line {ATTACHED} on stdout, so AFTER and INTERRUPT were not done")
        else:
            if wrong := shell(case.after, env, cwd, max(1.0, deadline - time.monotonic())):
                problems.append(f"AFTER {wrong}")
            if case.interrupt is not None:
                time.sleep(case.interrupt)
                main.signal(signal.SIGINT)
    in_time = main.wait(deadline)
    out, err = main.text()
    if not in_time:
        problems.append(f"not done in {case.timeout:g} s (TIMEOUT), so it was killed")
    elif main.popen.returncode != case.exit:
        problems.append(f"exit code {main.popen.returncode}, expected {case.exit}")
    problems += [f"no line of stdout matches EXPECT {p}" for p in case.expect if not matches(p, out)]
    problems += [f"no line of stderr matches EXPECT_ERR {p}" for p in case.expect_err if not matches(p, err)]
    problems += [f"stdout lacks EXPECT_TEXT {t}" for t in case.expect_text if t not in out]
    problems += [f"a line matches EXPECT_NOT {p}" for p in case.expect_not if matches(p, out) or matches(p, err)]
    if case.errors and set(re.findall(r"^\w+\[(RT\d+)\]", err, re.M)) != set(case.errors):
        problems.append(f"the errors are not {' '.join(case.errors)}")
    if case.output is not None and not same(case.output, out):
        problems.append(f"stdout is not\n{case.output}")
    if case.output is not None:
        told = re.sub(r"^Attached \d+ probes?\n", "", err, flags=re.M)
        if not same(case.messages or "", told):
            problems.append(f"stderr is not\n{case.messages or '(empty)'}")
    return out, err


def same(wanted: str, text: str) -> bool:
    """Whether a text is as a page shows it: `…` stands for anything, alone on a line for any lines, and empty lines
    do not count."""
    pattern = ""
    for line in wanted.split("\n"):
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        elif line.strip():
            pattern += ".*?".join(map(re.escape, line.rstrip().split("…"))) + r"\n"
    lines = [line.rstrip() + "\n" for line in text.split("\n") if line.strip()]
    return re.fullmatch(pattern, "".join(lines)) is not None


def matches(pattern: str, text: str) -> bool:
    return any(re.search(pattern, line) for line in text.split("\n"))


def inside() -> None:
    """Runs the cases that this file's other side wrote to its job file, and tells each result as a line of JSON."""
    with open(f"{GUEST_JOB}/cases.json") as f:
        cases = [Case(**c) for c in json.load(f)]
    # Shared folders cannot carry uprobes on every kernel.
    if os.path.exists(shared := f"{GUEST_JOB}/programs"):
        shutil.copytree(shared, PROGRAMS, symlinks=True)
    # The emulator translates code anew for each address that it is at: without this, a program that starts takes ten
    # times as long.
    with open("/proc/sys/kernel/randomize_va_space", "w") as f:
        f.write("0")
    for case in cases:
        print(json.dumps(perform(case)), flush=True)


# ---- outside ---------------------------------------------------------------------------------

def programs() -> str:
    """Builds the programs that cases trace, of programs/, and gives the folder they are in. Each source says in lines
    `// BUILD …` which shell commands make what of it ($SRC); what is there already for the same text is kept."""
    sources = sorted(p for p in glob.glob(f"{HERE}/programs/*") if os.path.isfile(p))
    text = b"".join(os.path.basename(p).encode() + open(p, "rb").read() for p in sources)
    target = f"{HERE}/../../target/guest-programs"
    folder = os.path.realpath(f"{target}/{hashlib.sha256(text).hexdigest()[:16]}")
    if os.path.exists(folder):
        return folder
    os.makedirs(target, exist_ok=True)
    scratch = tempfile.mkdtemp(dir=target)
    try:
        for source in sources:
            with open(source) as f:
                commands = re.findall(r"^// BUILD (.+)$", f.read(), re.M)
            for command in commands:
                done = subprocess.run(["bash", "-ec", command], cwd=scratch, env={**os.environ, "SRC": source},
                                      stdin=subprocess.DEVNULL)
                if done.returncode != 0:
                    sys.exit(f"{source}: `{command}` failed; scripts/setup installs what it needs")
        os.chmod(scratch, 0o755)
        os.rename(scratch, folder)
    except OSError:
        if not os.path.exists(folder):      # by another run meanwhile
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


GUEST_JOB = "/run/cases"


def show(text: str, head: str) -> str:
    return "".join(f"\n    {head} {line}" for line in text.rstrip("\n").split("\n")) if text else ""


printing = threading.Lock()


def say(args: argparse.Namespace, kernel: str, text: str) -> None:
    """Prints lines; with the kernel that they are about where several are at work."""
    head = f"{kernel:5} " if args.jobs > 1 else ""
    with printing:
        print("".join(f"{head}{line}\n" for line in text.rstrip("\n").split("\n")), end="", flush=True)


def boot(kernel: str, cases: list[Case], args: argparse.Namespace, verdicts: list[bool]) -> int:
    """Boots one guest for the cases, prints and counts each verdict as it comes; gives the guest's exit code."""
    with tempfile.TemporaryDirectory(prefix="rtrace-cases-") as job:
        with open(f"{job}/cases.json", "w") as f:
            json.dump([dataclasses.asdict(c) for c in cases], f)
        if any("PROGRAMS" in c.text for c in cases):
            shutil.copytree(programs(), f"{job}/programs", symlinks=True)
        guest = subprocess.Popen(
            [f"{HERE}/../../scripts/guest", "-k", kernel, "--share", f"{os.path.dirname(HERE)}:{GUEST_TESTS}:ro",
             "--share", f"{job}:{GUEST_JOB}:ro", "--bin-dir", args.bin_dir,
             "--timeout", f"{BOOT_ALLOWANCE + sum(c.longest for c in cases):.0f}",
             "--one-thread", *(x for file in args.copy for x in ("--copy", file)),
             "--", "python3", f"{GUEST_TESTS}/guest/run.py", "--inside"], stdout=subprocess.PIPE)
        assert guest.stdout
        # A locked-up guest says nothing more: it is given the time of the case at hand, twice over. On Ctrl-C the
        # launcher ends its machine, on SIGTERM it would leave it behind.
        end = functools.partial(guest.send_signal, signal.SIGINT)
        hurry = threading.Timer(2 * BOOT_ALLOWANCE + 2 * cases[0].longest, end)
        hurry.start()
        for line in guest.stdout:
            hurry.cancel()
            following = cases[len(verdicts) + 1:len(verdicts) + 2]
            hurry = threading.Timer(BOOT_ALLOWANCE + 2 * (following[0].longest if following else 0), end)
            hurry.start()
            try:
                result = json.loads(line)
            except ValueError:
                say(args, kernel, line.decode(errors="replace"))
                continue
            case = cases[len(verdicts)]
            verdicts.append(not result["problems"])
            text = f"{'ok  ' if verdicts[-1] else 'FAIL'} {case.title} ({result['seconds']:.1f} s)"
            text += "".join(show(problem, "!") for problem in result["problems"])
            if result["problems"] or args.verbose:
                text += show("\n".join(case.run), "$") + show(result["out"], "1>") + show(result["err"], "2>")
            say(args, kernel, text)
        hurry.cancel()
        return guest.wait()


def run_kernel(kernel: str, args: argparse.Namespace) -> tuple[bool, str]:
    """Runs what was chosen on a kernel; tells whether all went well, and a line about that."""
    tell = functools.partial(say, args, kernel)
    chosen = all_cases(args.filter, long=bool(args.filter) or args.kernel == "all")
    # Guests at the same time take time from each other.
    longer = args.jobs * args.patience
    cases = [dataclasses.replace(c, timeout=c.timeout * longer) for c in chosen if suits(c.kernel, kernel)]
    tell(f"kernel {kernel}: {len(cases)} cases")
    for case in chosen:
        if not suits(case.kernel, kernel):
            tell(f"skip {case.title} (needs kernel {case.kernel})")
    passed = failed = 0
    died_at: Case | None = None
    while cases:
        verdicts: list[bool] = []
        code = boot(kernel, cases, args, verdicts)
        passed, failed = passed + sum(verdicts), failed + len(verdicts) - sum(verdicts)
        cases = cases[len(verdicts):]
        if not cases:
            break
        # An emulator has weaknesses of its own: a second try.
        if died_at is None:
            tell(f"the guest ended in the middle, with {code}, at '{cases[0].title}': what remains ({len(cases)} cases) "
                 "is tried once more, in a fresh one")
            died_at = cases[0]
        elif died_at is cases[0]:
            tell(f"FAIL {cases[0].title}: the guest ended here twice; going on behind it")
            failed, cases = failed + 1, cases[1:]
        else:
            tell(f"FAIL {cases[0].title}: the guest ended again, with {code}, and {len(cases) - 1} cases did not run")
            failed += len(cases)
            break
    summary = f"{passed} passed, {failed} failed, {len(chosen) - passed - failed} skipped"
    if passed + failed == 0:
        summary += ": no case ran"
    return failed == 0 and passed > 0, f"kernel {kernel}: {summary}"


def main() -> int:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("-k", "--kernel", default="6.1,6.12", help=f"kernels, with commas between (default: 6.1,6.12), or "
                    f"all: {' '.join(KERNELS)}")
    ap.add_argument("--filter", default="", metavar="REGEX", help="only cases of which 'FILE: NAME' matches")
    ap.add_argument("--bin-dir", default=f"{HERE}/../../target/release", help="where rtrace is (default: target/release)")
    ap.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                    help="kernels at the same time: most cases wait most of the time (default: as there are processors)")
    ap.add_argument("--patience", type=float, default=1, metavar="N",
                    help="give each case N times as long, on a machine that does other work meanwhile (default: 1)")
    ap.add_argument("--copy", action="append", default=[], metavar="FILE", help="one more program for the guest")
    ap.add_argument("-v", "--verbose", action="store_true", help="show the output of cases that passed too")
    ap.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = ap.parse_args()
    if args.inside:
        inside()
        return 0
    if os.path.exists(properties := f"{args.bin_dir}/examples/properties"):
        args.copy.append(properties)
    kernels = KERNELS if args.kernel == "all" else args.kernel.split(",")
    args.jobs = max(1, min(args.jobs, len(kernels)))
    programs()
    with ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(functools.partial(run_kernel, args=args), kernels))
    print("\n".join(summary for _, summary in results))
    return 0 if all(good for good, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
