"""The commands around a task's life: `pre_start` in containers of their own, `post_start` and `pre_stop` in the task's.

A hook runs at least once: a crash of the agent between a hook's end and the report of it makes it run again. Hooks that
run once for the service are no hooks here: each is a task of its own (`Task.step`).
"""

from collections.abc import Awaitable, Callable

from pilothouse.agent.ending import LOG_TAIL_LINES, ending_of
from pilothouse.agent.plan import Surroundings, hook_name, hook_names, plan_hook
from pilothouse.agent.runtime.interface import ContainerPlan, ContainerState, Engine
from pilothouse.errors import DriverError, PermanentError, TemporaryError
from pilothouse.model.base import Value
from pilothouse.model.names import container_name
from pilothouse.model.objects import Ending, Task
from pilothouse.model.spec import Hook
from pilothouse.model.wire import LogQuery

POST_START_SECONDS = 600.0
_OUTPUT = 300


class HookFailure(Value, frozen=True, kw_only=True):
    """That a `pre_start` hook ended with another code than 0, how, and what it wrote last."""

    message: str
    ending: Ending


class Hooks:
    """Runs hooks."""

    def __init__(
        self,
        engine: Engine,
        installation: str,
        check: Callable[[ContainerPlan], Awaitable[None]],
        enter: Callable[[Task, str, str], None],
    ) -> None:
        """Run hooks of *installation* on *engine*.

        Args:
            engine: Where.
            installation: Whose containers are ours.
            check: Accepts a container to make, or raises.
            enter: Told of a task, a hook and its container before that is started; raises if it may not be now.
        """
        self._engine = engine
        self._enter = enter
        self._installation = installation
        self._check = check

    async def pre_start(self, task: Task, around: Surroundings) -> HookFailure | None:
        """Run the task's own `pre_start` hooks in order, each to its end, and return the first that failed, if any."""
        for index, hook in enumerate(task.spec.pre_start):
            failure = await self._run_container(task, index, hook, around) if hook.per_replica else None
            if failure is not None:
                return failure
        return None

    async def post_start(self, task: Task) -> None:
        """Run the `post_start` hooks in order.

        Raises:
            PermanentError: One failed, or did not end in POST_START_SECONDS.
        """
        for index, hook in enumerate(task.spec.post_start):
            await self._run_inside(task, hook, f"post_start hook {index + 1}", POST_START_SECONDS)

    async def pre_stop(self, task: Task, index: int, timeout_seconds: float) -> None:
        """Run `pre_stop` hook number *index* in what is left of the grace.

        Raises:
            PermanentError: It failed or took too long; the stop goes on anyway.
        """
        hook = task.spec.pre_stop[index]
        await self._run_inside(task, hook, f"pre_stop hook {index + 1}", timeout_seconds)

    async def clean(self, task: Task) -> None:
        """Remove the containers of the hooks that ran for this task alone."""
        for name in hook_names(task):
            await self._engine.remove(name)

    async def _run_inside(self, task: Task, hook: Hook, what: str, timeout_seconds: float) -> None:
        try:
            code, output = await self._engine.exec(
                container_name(task),
                hook.command,
                timeout_seconds=timeout_seconds,
                user=hook.user,
                working_dir=hook.working_dir,
                environment=hook.environment,
                privileged=hook.privileged,
            )
        except TemporaryError as error:
            raise PermanentError(f"its {what} did not end: {error}") from error
        if code != 0:
            said = f": {output.strip()[-_OUTPUT:]}" if output.strip() else ""
            raise PermanentError(f"its {what} ended with exit code {code}{said}")

    async def _run_container(self, task: Task, index: int, hook: Hook, around: Surroundings) -> HookFailure | None:
        name = hook_name(task, index)
        found = await self._engine.inspect(name)
        if found is not None and found.exit is not None:
            if found.exit.code == 0:
                return None
            if found.installation != self._installation:
                raise PermanentError(
                    f"the container {name} of another Pilothouse installation is in the way of its pre_start hook "
                    f"{index + 1}: give the app another name on one of the two"
                )
            # Of an earlier task, or of this one before a crash: either way it has not passed.
            await self._engine.remove(name)
            found = None
        if found is None or found.phase == "created":
            plan = plan_hook(task, index, around, await self._image(task, hook))
            await self._check(plan)
            self._enter(task, str(index), await self._engine.prepare(plan))
            await self._engine.start(name)
        await self._engine.wait(name)
        found = await self._engine.inspect(name)
        if found is None or found.exit is None or found.exit.code != 0:
            return await self._failure(name, index, found)
        return None

    async def _image(self, task: Task, hook: Hook) -> str:
        if not hook.image:
            return task.image.id or task.image.digest or task.image.ref
        message = ""
        async for step in self._engine.ensure_image(hook.image, task.spec.container.pull_policy):
            if step.phase == "resolved":
                return step.id or hook.image
            message = step.message
        raise PermanentError(f"the image {hook.image} of a pre_start hook is not available: {message}")

    async def _failure(self, name: str, index: int, found: ContainerState | None) -> HookFailure:
        ended = found.exit if found else None
        ending = ending_of(ended, await tail(self._engine, name))
        how = "vanished" if ended is None else f"ended with exit code {ended.code}"
        last = f": {ending.log_tail[-1]}" if ending.log_tail else ""
        return HookFailure(message=f"its pre_start hook {index + 1} {how}{last}", ending=ending)


async def tail(engine: Engine, name: str) -> tuple[str, ...]:
    """Return the last lines a container wrote; none if the engine cannot say."""
    query = LogQuery(task_id="", tail=LOG_TAIL_LINES)
    try:
        return tuple([line.text async for line in engine.logs(name, query)])
    except DriverError:
        # Log drivers that send lines elsewhere cannot be read back.
        return ()
