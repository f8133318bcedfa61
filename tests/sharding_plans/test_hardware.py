"""Hardware profiles: what ships, what users bring, and the way into TorchRec's units."""

from pathlib import Path

import pytest
import yaml

from data.errors import PlanError
from models.processor import is_from_intel, processor_name
from sharding_plans.machines.hardware import profile_from_dict, profile_names, profile_to_dict, shipped_profile
from sharding_plans.machines.profile_topology import ranks_per_host, topology_of, usable_rank_counts
from sharding_plans.machines.profiles import load_profile
from tests.sharding_plans.offline_plans import A100, CPU, hosts


@pytest.mark.parametrize("name", profile_names())
def test_every_shipped_profile_loads_and_gives_a_topology(name: str, caplog: pytest.LogCaptureFixture):
    profile = shipped_profile(name)
    topology = topology_of(profile, profile.ranks_per_host)
    assert (profile.name, topology.world_size) == (name, profile.ranks_per_host)
    assert profile.price_per_rank_hour is None
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_units_become_bytes_and_bytes_per_millisecond():
    topology = topology_of(A100, 16)
    assert topology.local_world_size == 8
    assert topology.devices[0].storage.hbm == 40 * 2**30
    assert topology.devices[0].storage.ddr == 1024 * 2**30 // 8  # a host's memory is shared by its 8 ranks
    assert topology.hbm_mem_bw == pytest.approx(1555e9 / 1000)
    assert topology.ddr_mem_bw == pytest.approx(409.6e9 / 1000 / 8)
    assert topology.hbm_to_ddr_mem_bw == pytest.approx(32e9 / 1000)
    assert (topology.intra_host_bw, topology.inter_host_bw) == pytest.approx((300e9 / 1000, 25e9 / 1000))


def test_fewer_ranks_than_a_host_share_all_of_its_memory():
    assert topology_of(A100, 2).devices[0].storage.ddr == 512 * 2**30
    assert topology_of(CPU, 1).devices[0].storage.ddr == 512 * 2**30


def test_ranks_that_leave_a_host_partly_used_are_refused():
    with pytest.raises(PlanError, match=r"12 ranks do not fill hosts of 8.*Take 8 or 16"):
        ranks_per_host(A100, 12)
    assert usable_rank_counts(A100, 64) == (1, 2, 4, 8, 16, 24, 32, 48, 64)


def test_a_profile_of_ones_own_is_read_from_its_file(tmp_path: Path):
    mine = hosts(ranks=2, hbm_gib=12)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(profile_to_dict(mine)))
    assert load_profile(str(path)) == mine


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hbm_gib": None}, "keys are missing: hbm_gib"),
        ({"hbm_gb": 40}, 'no key "hbm_gb".*hbm_gib'),
        ({"hbm_gib": 0}, "hbm_gib is 0, expected a figure above 0"),
        ({"intra_host_gb_per_s": -1}, "intra_host_gb_per_s is -1"),
        ({"ranks_per_host": 2.5}, "ranks_per_host is 2.5, expected a whole number"),
        ({"hbm_gib": "many"}, "hbm_gib is 'many', expected a number"),
        ({"hbm_gib": float("nan")}, "hbm_gib is nan"),
        ({"device": "tpu"}, "device is 'tpu', expected cuda or cpu"),
    ],
)
def test_a_wrong_profile_is_refused_with_what_is_wrong(change: dict, words: str):
    values = {key: value for key, value in {**profile_to_dict(A100), **change}.items() if value is not None}
    with pytest.raises(PlanError, match=words):
        profile_from_dict(values, origin="mine.yaml")


def test_unknown_hardware_lists_the_known_nearest_first(tmp_path: Path):
    with pytest.raises(PlanError, match='no hardware profile "h100"; known, the nearest first: h100_sxm_80gb, '):
        load_profile("h100")
    with pytest.raises(PlanError, match="cannot be read"):
        load_profile(str(tmp_path / "absent.yaml"))


def test_this_machine_is_measured():
    here = load_profile("this-machine")
    assert here.host_memory_gib > 0.5
    assert 0.5 < here.host_memory_gb_per_s < 10_000
    assert here.intra_host_gb_per_s > 0.05
    assert topology_of(here, 4).local_world_size == 4 if here.device == "cpu" else True


def test_a_processor_without_a_number_is_told_by_its_family(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n" * 2)
    assert processor_name(info) == "AMD EPYC (family 26, model 2)"
    info.write_text("cpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Intel(R) Xeon(R) Platinum 8480+\n")
    assert processor_name(info) == "Intel(R) Xeon(R) Platinum 8480+"
    assert processor_name(tmp_path / "none")


@pytest.mark.parametrize(("vendor", "is_intel"), [("GenuineIntel", True), ("AuthenticAMD", False)])
def test_intels_processors_are_told_by_their_vendor(tmp_path: Path, vendor: str, is_intel: bool) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nmodel\t\t: 106\n")
    assert is_from_intel(info) == is_intel
    assert not is_from_intel(tmp_path / "none")
