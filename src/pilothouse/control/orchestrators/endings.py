"""How a task ended, in words: one place, so that a reason, a notice and an explanation say the same."""

from pilothouse.model.objects import Task
from pilothouse.model.states import TaskState

_SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
    9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
    24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}  # fmt: skip
_MIB = 1024 * 1024


def given_up(task: Task) -> bool:
    """Whether a dead *task* ended because its node was lost or cut off: it is nobody's failure."""
    if task.state is TaskState.ORPHANED:
        return True
    # A node that is cut off stops by itself what must not run twice.
    return task.state is TaskState.SHUTDOWN and task.desired_state is not TaskState.SHUTDOWN


def how_it_ended(task: Task) -> str:
    """Return a clause such as "exited with code 1 after 3 s"; *task* is dead."""
    after = f" after {duration(run_seconds(task))}" if task.status.started_at is not None else ""
    if task.state is TaskState.REJECTED:
        return f"could not be started: {_message(task)}"
    if task.state is TaskState.ORPHANED:
        return f"was lost with its node {task.node_id}"
    if given_up(task):
        return f"was stopped by its node {task.node_id}{after}: {_message(task)}"
    if task.state is TaskState.SHUTDOWN:
        return f"was stopped{after}"
    return _exit(task, after)


def _exit(task: Task, after: str) -> str:
    ending = task.status.ending
    if ending is None or ending.exit_code is None:
        return f"failed{after}: {_message(task)}"
    if ending.oom:
        limit = task.spec.container.limits.memory_bytes
        than = f"its limit of {limit // _MIB} MiB" if limit else "the machine could give"
        return f"was killed by the kernel for using more memory than {than} (exit code {ending.exit_code}){after}"
    signal = signal_name(task)
    if signal:
        return f"was killed by {signal} (exit code {ending.exit_code}){after}"
    return f"exited with code {ending.exit_code}{after}"


def signal_name(task: Task) -> str:
    """Return the signal that ended *task*, "" if none did; an exit code of 128 + N stands for signal N."""
    ending = task.status.ending
    if ending is None:
        return ""
    if ending.signal:
        return ending.signal
    return _SIGNALS.get((ending.exit_code or 0) - 128, "")


def run_seconds(task: Task) -> float:
    """Return how long the container of a dead *task* ran; 0 if it never started."""
    started, finished = task.status.started_at, task.status.finished_at
    if started is None:
        return 0.0
    return max(0.0, (task.status.since if finished is None else finished) - started)


def duration(seconds: float) -> str:
    """Return *seconds* as people say it: "0.4 s", "12 s", "5 min", "3 h", "2 days"."""
    if seconds < 1:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} days"


def _message(task: Task) -> str:
    return task.status.message or "the node gave no reason"
