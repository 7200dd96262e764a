"""`serve` and `worker`: the service, and the background work without it, until a signal asks them to stop."""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from thermocline.interfaces.cli.exits import CommandError, ExitCode
from thermocline.interfaces.cli.opening import quieten_logs
from thermocline.interfaces.cli.options import ConfigOption, DataOption, Invocation, JsonOption, invocation
from thermocline.interfaces.cli.output import flush_output, write_json, write_line
from thermocline.interfaces.cli.progress import Progress, is_terminal
from thermocline.interfaces.cli.running import run

if TYPE_CHECKING:
    from thermocline.services.working import Job
    from thermocline.wiring.settings import Settings

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""As for `serve`: with either, all is well."""


def serve(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="How many processes serve; [http] workers.")
    ] = None,
    no_work: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--no-work", help="Leave the background work to a 'thermocline worker'.")
    ] = False,
    as_process: Annotated[
        str | None, typer.Option("--as-process", hidden=True, help="Set by a service of several for each of them.")
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> int:
    """Start the service and its background work; SIGTERM and Ctrl-C let running requests end first."""
    from thermocline.interfaces.http.service import SharedPlace, serve_store
    from thermocline.interfaces.http.wire.server import ServerStartError
    from thermocline.interfaces.http.wire.server import run as run_fast
    from thermocline.wiring.logs import configure_logs

    call = invocation(ctx, config, data, as_json)
    flags = {"host": host, "port": port, "workers": workers}
    settings = call.settings(http={name: value for name, value in flags.items() if value is not None})
    configure_logs(settings.log)
    place: SharedPlace | None = None
    if as_process is not None:
        listener, supervisor, size = map(int, as_process.split(":"))
        place = SharedPlace(socket.socket(fileno=listener), socket.socket(fileno=supervisor), size)

    def announce(address: str) -> None:
        if call.as_json:
            write_json({"address": address})
        else:
            write_line(f"Thermocline listens on {address}")
        flush_output()

    if place is None and settings.http.workers > 1:
        return asyncio.run(_supervise(settings, announce))
    try:
        run_fast(serve_store(settings, work=not no_work, place=place, on_started=None if place else announce))
    except ServerStartError as exc:
        raise CommandError(f"the service did not start: {exc.__cause__ or exc}") from exc
    return ExitCode.DONE


async def _supervise(settings: "Settings", on_started: "Callable[[str], None]") -> int:
    from thermocline.interfaces.http.processes.supervisor import Supervisor
    from thermocline.interfaces.http.service import listen

    # Each process is this very command once more, so that it reads the same settings.
    command = [sys.executable, "-m", "thermocline", *sys.argv[1:]]
    with listen(settings) as listener:
        supervisor = Supervisor(command, settings.http.workers, listener, drain_time=settings.limits.drain_time)
        return await supervisor.run(on_started)


def worker(
    ctx: typer.Context,
    once: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--once", help="Run every job once, then end; exit code 1 if any failed.")
    ] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - a flag
) -> int:
    """Do the background work without the service, until SIGTERM or Ctrl-C. Several share it: each job runs in one."""
    from thermocline.wiring.logs import configure_logs

    call = invocation(ctx, config, data, as_json)
    settings = call.settings()
    if once:
        quieten_logs(settings)
        return run(_work_once(call, settings))
    configure_logs(settings.log)
    asyncio.run(_work(call, settings))
    return ExitCode.DONE


async def _work(call: Invocation, settings: "Settings") -> None:
    from thermocline.orchestrator import StorageOrchestrator

    loop, stopping = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C ends it at once: everything is safe to lose
        stopping.set()

    for number in STOPPING_SIGNALS:
        loop.add_signal_handler(number, stop)
    async with StorageOrchestrator.open(settings, work=True) as store:
        worker = store.services.worker
        if call.as_json or is_terminal():
            worker.on_run = _telling(call, stopping)
        if call.as_json:
            write_json({"jobs": [job.name for job in worker.jobs]})
        else:
            write_line(f"Thermocline does the background work: {len(worker.jobs)} jobs")
        flush_output()
        await stopping.wait()


async def _work_once(call: Invocation, settings: "Settings") -> ExitCode:
    from thermocline.orchestrator import StorageOrchestrator

    failed = False
    async with StorageOrchestrator.open(settings) as store:
        worker = store.services.worker
        with Progress("worker", total=len(worker.jobs), in_bytes=False) as progress:
            for number, job in enumerate(worker.jobs, start=1):
                done = await worker.run_once(job)
                _tell_run(call, job, done)
                failed = failed or job.last_error is not None
                progress.reach(number)
    return ExitCode.FAILED if failed else ExitCode.DONE


def _telling(call: Invocation, stopping: asyncio.Event) -> "Callable[[Job, int], None]":
    def tell(job: "Job", done: int) -> None:
        if not done:
            return  # failures are logged
        try:
            _tell_run(call, job, done)
        except (BrokenPipeError, CommandError):
            stopping.set()  # nobody looks any more

    return tell


def _tell_run(call: Invocation, job: "Job", done: int) -> None:
    if call.as_json:
        write_json({"job": job.name, "done": done, "elsewhere": job.is_elsewhere, "error": job.last_error})
    elif job.is_elsewhere:
        write_line(f"{job.name:<20}  another process does it")
    elif job.last_error is not None:
        write_line(f"{job.name:<20}  failed: {job.last_error}")
    else:
        write_line(f"{job.name:<20}  {done} done")
    flush_output()
