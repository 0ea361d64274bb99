"""A desktop that shows notes, on a D-Bus of its own: there they are heard and clicked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    MessageType,
    message_bus,
    new_method_return,
    new_signal,
)
from jeepney.io.asyncio import DBusConnection, open_dbus_connection

NAME = "org.freedesktop.Notifications"
ADDRESS = DBusAddress("/org/freedesktop/Notifications", interface=NAME)


@dataclass(frozen=True, slots=True)
class Note:
    """What is shown."""

    number: int
    title: str
    text: str


@dataclass
class Desktop:
    """Where a browser shows its notes; `address` is the bus that it is told of."""

    address: str
    bus: DBusConnection
    notes: list[Note] = field(default_factory=list)

    async def note(self, title: str, seconds: float = 10) -> Note:
        """Wait until a note is shown, and return it."""
        async with asyncio.timeout(seconds):
            while True:
                for note in self.notes:
                    if note.title == title:
                        return note
                await asyncio.sleep(0.02)

    async def click(self, note: Note) -> None:
        """Click a note."""
        await self.bus.send(new_signal(ADDRESS, "ActionInvoked", "us", (note.number, "default")))

    async def serve(self) -> None:
        """Answer whoever wants to show something."""
        while True:
            asked = await self.bus.receive()
            if asked.header.message_type == MessageType.method_call:
                await self.bus.send(self._answer(asked))

    def _answer(self, asked: Message) -> Message:
        name = asked.header.fields.get(HeaderFields.member)
        if name == "GetCapabilities":
            return new_method_return(asked, "as", (["actions", "body"],))
        if name == "GetServerInformation":
            return new_method_return(asked, "ssss", ("desktop", "tests", "1", "1.2"))
        if name == "Notify":
            note = Note(len(self.notes) + 1, asked.body[3], asked.body[4])
            self.notes.append(note)
            return new_method_return(asked, "u", (note.number,))
        return new_method_return(asked)


@asynccontextmanager
async def desktop() -> AsyncIterator[Desktop]:
    """Run a bus with a desktop on it while the block runs."""
    daemon = await asyncio.create_subprocess_exec(
        *("dbus-daemon", "--session", "--print-address", "--nofork"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert daemon.stdout is not None
        address = (await daemon.stdout.readline()).decode().strip()
        bus = await open_dbus_connection(bus=address)
        await bus.send(message_bus.RequestName(NAME))
        shown = Desktop(address, bus)
        serving = asyncio.create_task(shown.serve())
        try:
            yield shown
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving
            await bus.close()
    finally:
        daemon.terminate()
        await daemon.wait()
