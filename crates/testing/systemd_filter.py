"""Runs a command under the system call filter of a systemd unit, which needs no systemd: systemd_filter.py UNIT COMMAND…

Applies SystemCallFilter, SystemCallErrorNumber (EPERM), RestrictAddressFamilies, MemoryDenyWriteExecute and NoNewPrivileges.
"""

import errno
import os
import socket
import subprocess
import sys

import pyseccomp as seccomp

unit, command = sys.argv[1], sys.argv[2:]


def values(setting):
    with open(unit, encoding="utf-8") as file:
        return [line.strip().split("=", 1)[1] for line in file if line.startswith(f"{setting}=")]


def calls(name):
    """The calls of a set, as this systemd knows it."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter", name], check=True, capture_output=True, text=True).stdout
    words = [line.split()[0] for line in listed.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*map(calls, words))


allowed = set()
for value in values("SystemCallFilter"):
    for name in value.lstrip("~").split():
        allowed = allowed - calls(name) if value.startswith("~") else allowed | calls(name)
families = [getattr(socket, name) for name in values("RestrictAddressFamilies")[0].split()]
assert values("SystemCallErrorNumber") == ["EPERM"] and values("MemoryDenyWriteExecute") == ["yes"]

rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
for name in sorted(allowed - {"socket", "mmap", "mprotect"}):
    try:
        rules.add_rule(seccomp.ALLOW, name)
    except (OSError, RuntimeError, ValueError):
        pass  # Not a call of this architecture.
for family in families:
    rules.add_rule(seccomp.ALLOW, "socket", seccomp.Arg(0, seccomp.EQ, family))
WRITE_AND_EXECUTE = 2 | 4
for name in ("mmap", "mprotect"):
    for protection in (0, 2, 4):
        rules.add_rule(seccomp.ALLOW, name, seccomp.Arg(2, seccomp.MASKED_EQ, WRITE_AND_EXECUTE, protection))
rules.load()
os.execvp(command[0], command)
