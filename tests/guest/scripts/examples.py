"""Loads and attaches the example of every function in the manual (`rtrace --explain manual` on stdin).

What this kernel is too old for, or has under another name, is no failure.
"""
import re
import subprocess
import sys

functions = sys.stdin.read().split("\n## Probe types\n")[0]
# `bpf_override_return` is there only where the kernel was built with error injection.
LACKING = re.compile(r"RT0303|RT0401|needs \d|no such function|bpf_override_return")
total = bad = 0
for name, body in re.findall(r"\n### (\S+)\n(.*?)(?=\n### |\Z)", functions, re.S):
    script = re.search(r"\n```\n(.*?)\n```", body, re.S).group(1)
    done = subprocess.run(["rtrace", "--unsafe", "--dry-run", "-c", "true", "-e", script], capture_output=True, text=True)
    total += 1
    if done.returncode and not LACKING.search(done.stderr):
        bad += 1
        print(f"FAILED {name}: {script}\n{done.stderr}")
print(f"{total - bad} of {total} good")
