#!/usr/bin/env python3
"""Loads a program with `print(args)`, and `print(retval)` at returns, for many attach points of one kind:

  sweep.py KIND [COUNT]

COUNT of them, evenly spread over the sorted list, or all. What cannot be traced rtrace must say itself, before loading
anything: no program is refused by the kernel. Prints what is refused by whom, and a summary.
"""
import os
import re
import subprocess
import sys

TOGETHER = 100          # attach points of one run
BODIES = {"fexit": "print(args); print(retval);", "kretprobe": "print(retval);"}
MESSAGE = re.compile(r"^(?:error|warning)\[(RT\d+)\]: (.*)$")
PLACE = re.compile(r"^ +┌─ sweep\.rt:(\d+):\d+$")
# What the kernel refuses, and what the compiler should not have come to.
WRONG = re.compile(r"RT050[123]")


def listed(kind: str) -> list[str]:
    source = "kprobe" if kind == "kretprobe" else kind
    done = subprocess.run(["rtrace", "-l", f"{source}:*"], capture_output=True, text=True, check=True)
    names = sorted({line.strip() for line in done.stdout.split("\n") if line.startswith(f"{source}:")})
    return [name.replace(f"{source}:", f"{kind}:", 1) for name in names]


def chosen(names: list[str], count: int) -> list[str]:
    return names if count >= len(names) else [names[i * len(names) // count] for i in range(count)]


def run(kind: str, names: list[str]) -> subprocess.CompletedProcess:
    """One script, a line for each of the attach points."""
    body = BODIES.get(kind, "print(args);")
    with open("sweep.rt", "w") as f:
        f.writelines(f"{name} {{ {body} }}\n" for name in names)
    env = {**os.environ, "RTRACE_ONLY_LOAD": "1"}
    return subprocess.run(["rtrace", "--dry-run", "sweep.rt"], capture_output=True, text=True, env=env)


def complaints(text: str) -> dict[int, str]:
    """Errors by the line of the script."""
    found, message = {}, None
    for line in text.split("\n"):
        if m := MESSAGE.match(line):
            message = f"{m[1]} {m[2]}" if line.startswith("error") else None
        elif message and (m := PLACE.match(line)):
            found.setdefault(int(m[1]) - 1, message)
            message = None
    return found


def main() -> int:
    kind, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1 << 30
    names = chosen(listed(kind), count)
    loaded = refused = wrong = 0
    work = [names[i:i + TOGETHER] for i in range(0, len(names), TOGETHER)]
    while work:
        batch = work.pop()
        done = run(kind, batch)
        if done.returncode == 0:
            loaded += len(batch)
            continue
        told = {at: text for at, text in complaints(done.stderr).items() if at < len(batch)}
        if not told:
            wrong += len(batch)
            print(f"WRONG {batch[0]} and {len(batch) - 1} more:\n{done.stderr.strip()}")
            continue
        for at, text in told.items():
            bad = WRONG.search(text)
            wrong, refused = wrong + bool(bad), refused + (not bad)
            if bad or kind != "fexit" or "returns void" not in text:
                print(f"{'WRONG' if bad else 'left out'} {batch[at]}: {text}")
        rest = [name for at, name in enumerate(batch) if at not in told]
        work += [rest] if rest else []
    print(f"{kind}: {loaded} loaded, {refused} refused in words, {wrong} wrong")
    return 1 if wrong or not loaded else 0


if __name__ == "__main__":
    sys.exit(main())
