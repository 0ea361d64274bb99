"""The supervisor, over a fleet that is kept in memory: what dies, stands still or is old is replaced."""

from dataclasses import dataclass, field

from engine.core.database import DatabaseAway
from engine.core.settings import Settings
from engine.domains.runs import Load
from engine.roles import DEFAULT_POOL, Pool, Resources
from ray_cluster.fleet import Name
from ray_cluster.scaling import CALM_SECONDS
from ray_cluster.supervisor import END_SECONDS, Supervisor
from ray_cluster.worker_actor import Look

DEFAULT = Pool(DEFAULT_POOL, ("hr",), Resources())
HEAVY = Pool("heavy", ("lawyer",), Resources(concurrency=2, gpus=1))


@dataclass
class Member:
    """A worker of the fleet."""

    machine: str
    worker: str = ""
    runs: int = 0
    answers: bool = True
    still_seconds: float = 0.0
    leaves_in: float | None = None
    has_left: bool = False


@dataclass
class FleetInMemory:
    """Machines and workers that do what a test says."""

    release: str = "new"
    machine_names: list[str] = field(default_factory=lambda: ["a"])
    members: dict[Name, Member] = field(default_factory=dict)
    ended: list[Name] = field(default_factory=list)
    starts_dead: bool = False
    started: int = 0

    async def names(self) -> list[Name]:
        return sorted(self.members)

    async def machines(self) -> list[str]:
        return self.machine_names

    async def look(self, name: Name) -> Look | None:
        member = self.members[name]
        if not member.answers:
            return None
        return Look(
            member.machine,
            member.worker or str(name),
            member.runs,
            member.still_seconds,
            member.leaves_in is not None,
            member.has_left,
        )

    async def start(self, pool: Pool, machine: str | None) -> Name:
        self.started += 1
        name = Name(self.release, pool.name, f"{self.started:08}")
        if not self.starts_dead:
            self.members[name] = Member(machine or self.machine_names[0])
        return name

    async def leave(self, name: Name, seconds: float) -> None:
        self.members[name].leaves_in = seconds

    async def end(self, name: Name) -> None:
        self.ended.append(name)
        self.members.pop(name, None)


class Stage:
    """A supervisor, its fleet, its clock, and what it is told of the load."""

    def __init__(self, fleet: FleetInMemory | None = None, **changes: object) -> None:
        self.fleet = fleet or FleetInMemory()
        self.now = 1000.0
        self.load: dict[str, Load] | None = {}
        self.pools = {DEFAULT_POOL: DEFAULT}
        self.taken_from: list[str] = []
        self.supervisor = Supervisor(
            self.fleet,
            Settings(_env_file=None, drain_seconds=20, **changes),  # type: ignore[arg-type, call-arg]
            release=self.fleet.release,
            pools=lambda: self.pools,
            load=self._load,
            take_from=self._take_from,
            now=lambda: self.now,
        )

    async def _take_from(self, workers: list[str]) -> int:
        if self.load is None:
            raise DatabaseAway
        self.taken_from += workers
        return len(workers)

    async def _load(self) -> dict[str, Load]:
        if self.load is None:
            raise DatabaseAway
        return self.load

    async def pass_seconds(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1
            await self.supervisor.tick()

    def staying(self, pool: str = DEFAULT_POOL, release: str = "new") -> list[Name]:
        return [
            name
            for name, member in self.fleet.members.items()
            if (name.pool, name.release) == (pool, release) and member.leaves_in is None
        ]

    def leaving(self) -> list[Name]:
        return [name for name, member in self.fleet.members.items() if member.leaves_in is not None]


async def test_a_pool_has_its_fewest_and_one_on_every_machine() -> None:
    stage = Stage(FleetInMemory(machine_names=["a", "b", "c"]))
    await stage.pass_seconds(3)

    assert sorted(member.machine for member in stage.fleet.members.values()) == ["a", "b", "c"]
    assert stage.supervisor.state() == {DEFAULT_POOL: {"wanted": 3, "working": 3}}


async def test_a_worker_that_dies_is_replaced_at_once_and_one_that_stands_still_soon() -> None:
    stage = Stage(workers=2, lease_seconds=10)
    await stage.pass_seconds(2)
    dead, still = stage.staying()
    del stage.fleet.members[dead]
    await stage.pass_seconds(1)
    assert len(stage.staying()) == 2

    stage.fleet.members[still].answers = False
    await stage.pass_seconds(7)
    assert stage.fleet.ended == []
    await stage.pass_seconds(2)

    assert stage.fleet.ended == [still]
    assert len(stage.staying()) == 2


async def test_what_dead_workers_held_is_taken_from_them_once_and_after_the_database_is_back() -> None:
    stage = Stage(workers=3)
    await stage.pass_seconds(2)
    gone, anew, frozen = stage.staying()
    assert stage.taken_from == []
    stage.load = None
    del stage.fleet.members[gone]
    stage.fleet.members[anew].worker = "started anew by Ray"
    stage.fleet.members[frozen].answers = False
    await stage.pass_seconds(12)
    assert stage.taken_from == []
    stage.load = {}
    await stage.pass_seconds(3)

    assert sorted(stage.taken_from) == sorted(map(str, (gone, anew, frozen)))


async def test_a_worker_whose_loop_hangs_is_replaced_though_it_answers() -> None:
    stage = Stage()
    await stage.pass_seconds(2)
    (hung,) = stage.staying()
    stage.fleet.members[hung].still_seconds = 9.0
    await stage.pass_seconds(9)

    assert stage.fleet.ended == [hung]


async def test_a_worker_that_waits_for_its_machine_is_waited_for() -> None:
    stage = Stage()
    await stage.pass_seconds(1)
    (placed,) = stage.staying()
    stage.fleet.members[placed].answers = False
    await stage.pass_seconds(100)

    assert stage.staying() == [placed]


async def test_a_worker_ends_its_runs_before_it_is_ended() -> None:
    stage = Stage(workers=1, worker_runs=1, workers_most=3)
    stage.load = {"hr": Load(waiting=2)}
    await stage.pass_seconds(3)
    assert len(stage.staying()) == 2
    busy = stage.staying()[0]
    stage.fleet.members[busy].runs = 1
    stage.load = {}
    await stage.pass_seconds(CALM_SECONDS + 2)

    (going,) = stage.leaving()
    assert going != busy
    assert stage.fleet.ended == []
    stage.fleet.members[going].has_left = True
    await stage.pass_seconds(1)
    assert stage.fleet.ended == [going]
    assert stage.staying() == [busy]


async def test_a_worker_that_does_not_leave_in_time_is_ended() -> None:
    old = FleetInMemory(members={Name("old", DEFAULT_POOL, "1"): Member("a", runs=1)})
    stage = Stage(old)
    await stage.pass_seconds(2)
    assert stage.leaving() == [Name("old", DEFAULT_POOL, "1")]
    await stage.pass_seconds(20 + END_SECONDS + 1)

    assert stage.fleet.ended == [Name("old", DEFAULT_POOL, "1")]


async def test_a_new_release_works_before_the_old_one_leaves() -> None:
    old = [Name("old", DEFAULT_POOL, str(number)) for number in range(3)]
    stage = Stage(FleetInMemory(members={name: Member("a") for name in old}))
    stage.fleet.machine_names = ["a"]
    await stage.supervisor.tick()
    new = stage.staying()
    for name in new:
        stage.fleet.members[name].answers = False
    await stage.pass_seconds(10)

    assert len(new) == 3
    assert stage.leaving() == []
    for name in new:
        stage.fleet.members[name].answers = True
    await stage.pass_seconds(1)
    assert stage.leaving() == old


async def test_a_machine_that_leaves_is_empty_once_others_have_its_work() -> None:
    stage = Stage(FleetInMemory(machine_names=["a", "b"]))
    await stage.pass_seconds(2)
    assert stage.supervisor.leave_machine("b") == 1
    await stage.pass_seconds(2)

    (going,) = stage.leaving()
    assert stage.fleet.members[going].machine == "b"
    stage.fleet.members[going].has_left = True
    await stage.pass_seconds(1)
    assert stage.supervisor.leave_machine("b") == 0
    assert {member.machine for member in stage.fleet.members.values()} == {"a"}


async def test_a_pool_starts_when_its_role_is_asked_and_goes_with_its_last_role() -> None:
    stage = Stage()
    stage.pools = {DEFAULT_POOL: DEFAULT, "heavy": HEAVY}
    await stage.pass_seconds(2)
    assert stage.staying("heavy") == []

    stage.load = {"lawyer": Load(waiting=3)}
    await stage.pass_seconds(1)
    assert len(stage.staying("heavy")) == 2
    stage.pools = {DEFAULT_POOL: DEFAULT}
    await stage.pass_seconds(2)

    assert len(stage.leaving()) == 2
    assert len(stage.staying()) == 1


async def test_while_the_database_is_away_no_pool_changes_its_size() -> None:
    there = [Name("new", DEFAULT_POOL, str(number)) for number in range(3)]
    stage = Stage(FleetInMemory(members={name: Member("a") for name in there}))
    stage.load = None
    await stage.pass_seconds(100)

    assert stage.staying() == there


async def test_a_pool_whose_workers_die_at_once_is_not_given_hundreds() -> None:
    stage = Stage(FleetInMemory(starts_dead=True))
    await stage.pass_seconds(50)

    assert stage.fleet.started == 12


async def test_without_engines_everybody_leaves() -> None:
    stage = Stage(workers=2)
    await stage.pass_seconds(2)

    assert not await stage.supervisor.end()
    for member in stage.fleet.members.values():
        assert member.leaves_in is not None
        member.has_left = True
    stage.fleet.members.clear()
    assert await stage.supervisor.end()


def test_the_name_of_a_worker_says_whose_it_is() -> None:
    name = Name("abc", "heavy", "1")

    assert Name.read(str(name)) == name
    assert Name.read("supervisor") is None
    assert Name.read("model:x:y:z") is None
