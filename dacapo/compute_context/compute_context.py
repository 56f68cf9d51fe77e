"""The base class of compute contexts: where workers run, and on which device."""

from __future__ import annotations

import inspect
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs

from dacapo.compute_context.commands import follow
from dacapo.compute_context.steps import CPU, Step
from dacapo.errors import BlockwiseError, ConfigError
from dacapo.options import DaCapoConfig, Options

if TYPE_CHECKING:
    import torch


DISTRIBUTE_HELP = (
    "Start a {} even for a single worker, and for predictions even without a number of workers. Otherwise, these run "
    "in the calling process, unless several GPUs of this machine can predict."
)
_NUM_WORKERS_HELP = (
    "Number of workers where a call gives none, and their maximum where it does. By default, 30 at most, and a network "
    "predicts in the calling process unless it has several GPUs or workers are distributed."
)
_STEPS_HELP = (
    "Fields that differ for the workers of a step, such as {{segment: {{num_workers: 4}}}}; the steps are {}, and {!r} "
    "stands for all of them but {} and {}."
).format(", ".join(Step), CPU, *(step for step in Step if step.may_need_gpu))


def _check_number(context: object, attribute: object, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigError(f"{type(context).__name__}: num_workers must be a number from 1 on, got {value!r}")


def _check_steps(context: ComputeContext, attribute: object, steps: Any) -> None:
    name = type(context).__name__
    if not isinstance(steps, Mapping) or not all(isinstance(fields, Mapping) for fields in steps.values()):
        raise ConfigError(
            f"{name}: steps must map names to fields, such as {{segment: {{num_workers: 4}}}}; got {steps!r}"
        )
    for step, fields in steps.items():
        if step != CPU:
            Step.of(step, f"{name}: steps")
        try:
            if "steps" in fields:
                raise ConfigError("a step has no steps of its own; give its fields only")
            attrs.evolve(context, steps={}, **arguments(type(context), fields))
        except ConfigError as error:
            raise ConfigError(f"step {step} of the compute context: {error}") from error


@attrs.define
class ComputeContext(ABC):
    """Run workers somewhere, and know the device of the network.

    Defining a subclass makes it available to the options under its class name.
    """

    _registry: ClassVar[dict[str, type[ComputeContext]]] = {}

    end_variable: ClassVar[str] = ""
    """Environment variable in which a worker finds when it will be killed, in seconds since 1970; empty for none."""

    distribute_workers: bool | None = attrs.field(
        default=False, metadata={"help_text": DISTRIBUTE_HELP.format("process")}
    )
    # Keywords only, so that the fields of subclasses keep their places.
    num_workers: int | None = attrs.field(
        default=None, kw_only=True, validator=_check_number, metadata={"help_text": _NUM_WORKERS_HELP}
    )
    steps: dict[str, dict[str, Any]] = attrs.field(
        factory=dict, kw_only=True, validator=_check_steps, metadata={"help_text": _STEPS_HELP}
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # attrs creates a slotted class a second time; the final one replaces the first.
        ComputeContext._registry[cls.__name__] = cls

    def for_step(self, step: Step | str) -> Self:
        """Return the context for the workers of a step: with the fields that ``steps`` gives it, without needless GPUs.

        Raises:
            ConfigError: If the step is unknown.
        """
        step = Step.of(step, "the call")
        groups = [self.steps.get(step, {})]
        if not step.may_need_gpu:
            groups = [self.cpu_fields, self.steps.get(CPU, {}), *groups]
        changes = {key: value for group in groups for key, value in arguments(type(self), group).items()}
        return attrs.evolve(self, steps={}, **changes) if changes else self

    @property
    def cpu_fields(self) -> dict[str, Any]:
        """The fields that differ for workers that compute on CPUs only."""
        return {}

    def limited(self, num_workers: int | None) -> int | None:
        """Return a number of workers within that of the config; None if neither is given."""
        return min((number for number in (num_workers, self.num_workers) if number is not None), default=None)

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device for the network."""
        raise NotImplementedError

    @property
    def local_cores(self) -> int | None:
        """Number of cores that the workers share on this machine, None if they run elsewhere."""
        return None

    @property
    def local_gpus(self) -> int:
        """Number of GPUs of this machine that workers take in turn; fewer than 2 leave no choice."""
        return 0

    @property
    def scheduler_host(self) -> str | None:
        """Name or address under which workers reach the scheduling process; None to detect one."""
        return None

    @property
    def worker_memory(self) -> int | None:
        """Memory of a worker on another machine in bytes, None if it is unknown."""
        return None

    @property
    def time_limit(self) -> float | None:
        """Seconds after which a worker is killed, None if it may stay."""
        return None

    @property
    def has_gpus(self) -> bool:
        """Whether workers run the network on GPUs."""
        return self.device.type == "cuda"

    def free_gpu_memory(self, num_workers: int) -> int | None:
        """Return the free GPU memory of each of some workers that have GPUs in bytes, None if it is unknown."""
        return free_gpu_memory(self.device, num_workers)

    def threads_per_worker(self, num_workers: int) -> int | None:
        """Return the number of threads of each worker, None to leave it to the libraries."""
        return None if self.local_cores is None else max(1, self.local_cores // num_workers)

    def worker_environment(self, worker: int) -> dict[str, str]:
        """Return the environment variables to set for a worker.

        Args:
            worker: Number of the worker. On this machine it is the lowest, from 0 on, that no other living worker of
                the task has; elsewhere each worker has a different one.
        """
        return {}

    def wrap_command(self, command: Sequence[str], log: Path | None = None) -> list[str]:
        """Return the command that starts ``command`` in this context.

        Args:
            command: A program and its arguments.
            log: File for the output of a job.
        """
        return list(command)

    def job_in(self, line: str) -> str | None:
        """Return the id of the job that a line of the output of its command names, None if it names none."""
        return None

    def tells_cause(self, line: str) -> bool:
        """Return whether a line of the output of a command may tell why it failed."""
        return True

    def waiting_jobs(self) -> dict[str, str]:
        """Return the reason for which each job of the user waits, by its id.

        Raises:
            BlockwiseError: If the cluster cannot be asked.
        """
        return {}

    def cancel(self, job: str) -> None:  # noqa: B027  # nothing to do where commands are the work itself
        """End a job, or take it out of the queue, if its command does not do so when it is ended.

        Args:
            job: Its id, from :meth:`job_in`.
        """

    def execute(
        self,
        command: Sequence[str],
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
        keep_open: Sequence[int] = (),
    ) -> None:
        """Run a command, wait for its end, and log its output line by line.

        Args:
            command: A program and its arguments.
            log: File that the output is appended to as well.
            environment: Variables to set for the command, in addition to those of this process.
            keep_open: File descriptors that the command inherits.

        Raises:
            BlockwiseError: If the command cannot be started, or fails; the message ends with its last output.
        """
        wrapped = self.wrap_command(command) if log is None else self.wrap_command(command, log)
        name = " ".join(wrapped)
        try:
            process = subprocess.Popen(
                wrapped,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={**os.environ, **(environment or {})},
                pass_fds=tuple(keep_open),
            )
        except OSError as error:
            raise BlockwiseError(f"cannot start {name!r}: {error}") from error
        tail = follow(process, log, self)
        if process.returncode != 0:
            failure = BlockwiseError(
                f"{name!r} ended with exit code {process.returncode}; its output ends:\n{''.join(tail)}"
            )
            failure.exit_code = process.returncode
            raise failure


def free_gpu_memory(device: torch.device, num_processes: int) -> int:
    """Return the free GPU memory of each of some processes on this machine in bytes.

    Args:
        device: A certain GPU, which they share, or any, which they take in turn. A single process uses the current one.
        num_processes: Number of processes.
    """
    import torch

    num_gpus = 1 if num_processes == 1 or device.index is not None else max(1, torch.cuda.device_count())
    gpus = [device] if num_gpus == 1 else [torch.device("cuda", gpu) for gpu in range(min(num_gpus, num_processes))]
    sharing = -(-num_processes // num_gpus)
    return min(int(torch.cuda.mem_get_info(gpu)[0]) for gpu in gpus) // sharing


def create_compute_context(options: DaCapoConfig | None = None, step: Step | str | None = None) -> ComputeContext:
    """Return the compute context that the options describe.

    Args:
        options: Settings, by default those of the process.
        step: The step of the workers; None for the fields of the context itself.

    Raises:
        ConfigError: If the options name an unknown type of context, or an unknown field or step.
    """
    settings = dict((options or Options.instance()).compute_context)
    name, config = settings.pop("type"), settings.pop("config", None) or {}
    if settings or not isinstance(config, dict):
        raise ConfigError(
            "option compute_context must have the keys type and config, such as "
            f"{{type: LocalTorch, config: {{device: cpu}}}}; got {(options or Options.instance()).compute_context!r}"
        )
    known = {key: cls for key, cls in ComputeContext._registry.items() if not inspect.isabstract(cls)}
    cls = known.get(name)
    if cls is None:
        raise ConfigError(f"unknown compute_context type {name!r} in the options; known are {', '.join(sorted(known))}")
    context = cls(**arguments(cls, config))
    return context if step is None else context.for_step(step)


def arguments(cls: type[ComputeContext], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that give the fields of a config to a class of compute contexts.

    Raises:
        ConfigError: If the class does not have them.
    """
    fields = {field.name: str(field.alias) for field in attrs.fields(cls)}
    given = {fields.get(key, key): value for key, value in config.items()}
    unknown = sorted(str(key) for key in given if key not in fields.values())
    if unknown:
        raise ConfigError(
            f"compute_context {cls.__name__} has no field {', '.join(unknown)}; it has {', '.join(fields.values())}"
        )
    return given
