"""Arrays on a DVID server, read from a real one that speaks its interface."""

from __future__ import annotations

import itertools
import pickle
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ArrayNotFoundError, ConfigError, MetadataError, StorageError
from dacapo.experiments.datasplits.datasets.arrays import (
    BinarizeArrayConfig,
    CropArrayConfig,
    DVIDArray,
    DVIDArrayConfig,
    IntensitiesArrayConfig,
    dvid_instance,
)
from dacapo.experiments.datasplits.datasets.arrays.dvid_instance import DvidInstance, boxes
from dacapo.store.converter import from_plain, to_plain
from dacapo.testing.array import ArrayContract
from dacapo.utils import http
from tests.helpers.dvid_server import UUID, DvidServer, Instance, serve

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (7, 6, 9)).astype(np.uint8)
LABELS = RNG.integers(0, 2**63, (7, 6, 9), dtype=np.uint64)
COLORS = RNG.integers(0, 256, (4, 5, 6, 3)).astype(np.uint8)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[DvidServer]:
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.001)
    with serve(
        grayscale=Instance(GRAY, begin=(3, -5, 10)),
        segmentation=Instance(LABELS, begin=(3, -5, 10), kind="labelmap"),
        colors=Instance(COLORS, kind="rgba8blk"),
        floats=Instance(GRAY.astype(np.float32), kind="float32blk"),
    ) as running:
        yield running


def config(server: DvidServer, name: str, uuid: str = UUID) -> DVIDArrayConfig:
    return DVIDArrayConfig("remote", (server.address, uuid, name))


def array_of(server: DvidServer, name: str) -> DVIDArray:
    return DVIDArray(config(server, name))


class TestContract(ArrayContract):
    @pytest.fixture(params=["grayscale", "segmentation", "colors", "floats"])
    def array(self, request: pytest.FixtureRequest, server: DvidServer) -> DVIDArray:
        return array_of(server, request.param)


class TestContractInSmallRequests(ArrayContract):
    @pytest.fixture(params=["segmentation", "colors"])
    def array(self, request: pytest.FixtureRequest, server: DvidServer, monkeypatch: pytest.MonkeyPatch) -> DVIDArray:
        monkeypatch.setattr(dvid_instance, "MAX_REQUEST_BYTES", 500)
        return array_of(server, request.param)


@pytest.mark.parametrize(("name", "values"), [("grayscale", GRAY), ("segmentation", LABELS)])
def test_place_and_values(server: DvidServer, name: str, values: np.ndarray) -> None:
    array = array_of(server, name)
    assert array.axes == ["z", "y", "x"]
    assert array.voxel_size == (12, 8, 4)
    assert array.roi == Roi((120, -40, 12), (7 * 12, 6 * 8, 9 * 4))
    assert array.units == ["nm", "nm", "nm"]
    assert array.dtype == values.dtype
    assert array.num_channels is None
    np.testing.assert_array_equal(array[array.roi], values, strict=True)
    np.testing.assert_array_equal(array[Roi((132, -24, 20), (24, 8, 12))], values[1:3, 2:3, 2:5], strict=True)
    np.testing.assert_array_equal(array.data[1:3, 2, -1], values[1:3, 2, -1], strict=True)


def test_only_the_roi_is_asked_for(server: DvidServer) -> None:
    array = array_of(server, "grayscale")
    array[Roi((132, -24, 20), (24, 8, 12))]
    assert server.requests == [
        f"/api/node/{UUID}/grayscale/info",
        f"/api/node/{UUID}/grayscale/raw/0_1_2/3_1_2/5_-3_11",
    ]


def test_voxels_of_several_values_have_channels(server: DvidServer) -> None:
    array = array_of(server, "colors")
    assert array.axes == ["z", "y", "x", "c"]
    assert array.num_channels == 3
    np.testing.assert_array_equal(array[array.roi], COLORS, strict=True)


def test_units_are_converted(server: DvidServer) -> None:
    server.instances["grayscale"].extended = {"VoxelSize": [0.008, 0.016, 0.04], "VoxelUnits": ["micrometers"] * 3}
    array = array_of(server, "grayscale")
    assert array.voxel_size == (40, 16, 8)
    assert array.units == ["nm"] * 3


def test_other_arrays_show_it(server: DvidServer) -> None:
    gray, labels = config(server, "grayscale"), config(server, "segmentation")
    scaled = IntensitiesArrayConfig("i", gray, 0, 255)
    np.testing.assert_allclose(scaled.array_type(scaled)[array_of(server, "grayscale").roi], GRAY / 255, rtol=1e-6)
    crop = CropArrayConfig("c", gray, Roi((132, -32, 16), (24, 16, 8)))
    np.testing.assert_array_equal(crop.array_type(crop).data, GRAY[1:3, 1:3, 1:3])
    chosen = int(LABELS[0, 0, 0])
    binary = BinarizeArrayConfig("b", labels, [("one", [chosen])])
    np.testing.assert_array_equal(binary.array_type(binary).data[0] == 1, np.equal(LABELS, chosen))


def test_large_regions_are_read_in_several_requests(server: DvidServer, monkeypatch: pytest.MonkeyPatch) -> None:
    array = array_of(server, "segmentation")
    monkeypatch.setattr(dvid_instance, "MAX_REQUEST_BYTES", 4**3 * 8)
    np.testing.assert_array_equal(array[array.roi], LABELS)
    sizes = [path.split("/")[-2] for path in server.requests[1:]]
    assert len(sizes) > 3
    assert all(np.prod([int(n) for n in size.split("_")]) <= 4**3 for size in sizes)


@pytest.mark.parametrize("block", [(1, 1, 1), (4, 4, 4), (64, 64, 64)])
@pytest.mark.parametrize("largest", [1, 7, 64, 100, 10**6])
def test_boxes_are_a_partition(block: tuple[int, ...], largest: int) -> None:
    begin, end = (-3, 5, 0), (6, 9, 13)
    count = np.zeros((9, 4, 13), int)
    for low, high in boxes(begin, end, block, largest):
        assert np.prod(np.subtract(high, low)) <= largest
        count[tuple(slice(a - o, b - o) for a, b, o in zip(low, high, begin, strict=True))] += 1
    assert (count == 1).all()
    assert list(boxes(begin, (6, 5, 13), block, largest)) == []


def test_boxes_meet_between_blocks() -> None:
    for low, high in boxes((1, 2, 3), (30, 31, 33), (8, 8, 8), 8**3):
        for inner, first, last in ((low, (1, 2, 3), None), (high, None, (30, 31, 33))):
            for axis, place in enumerate(inner):
                assert place % 8 == 0 or place == (first or last)[axis]


@pytest.mark.parametrize("failures", [[503], [None], [502, None, 429, 504]])
def test_a_busy_server_is_asked_again(server: DvidServer, failures: list[int | None]) -> None:
    array = array_of(server, "grayscale")
    server.failures = list(failures)
    np.testing.assert_array_equal(array[array.roi], GRAY)
    assert len(server.requests) == 2 + len(failures)


def test_a_server_that_stays_busy_is_an_error(server: DvidServer) -> None:
    array = array_of(server, "grayscale")
    server.failures = [503] * 100
    with pytest.raises(StorageError, match=r"array 'remote'.*/raw/0_1_2/.*\(5 attempts\).*503.*Throttled"):
        array[array.roi]
    assert len(server.requests) == 6


def test_a_refusal_is_not_repeated(server: DvidServer) -> None:
    array = array_of(server, "grayscale")
    server.failures = [403]
    with pytest.raises(StorageError, match="403"):
        array[array.roi]
    assert len(server.requests) == 2


def test_too_few_voxels_are_an_error(server: DvidServer) -> None:
    array = array_of(server, "segmentation")
    server.instances["segmentation"].values = LABELS.astype(np.uint32)
    with pytest.raises(StorageError, match=r"1512 bytes; expected 3024"):
        array[array.roi]


@pytest.mark.parametrize(("uuid", "name", "why"), [("ffff", "grayscale", "find UUID"), (UUID, "nothing", "no data")])
def test_what_the_server_does_not_know(server: DvidServer, uuid: str, name: str, why: str) -> None:
    wrong = config(server, name, uuid)
    with pytest.raises(ArrayNotFoundError, match=rf"{server.address}/api/node/{uuid}/{name}/info.*{why}"):
        DVIDArray(wrong)
    works, said = wrong.verify()
    assert not works
    assert said.startswith("source: ")


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.001)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody else gets it, and nobody listens there
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(StorageError, match=rf"http://{address}/api/node/.*refused"):
            DVIDArray(DVIDArrayConfig("a", (address, UUID, "grayscale")))


def test_a_server_that_says_nothing() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(StorageError, match="timed out"):
            http.get(url, timeout=0.05, attempts=1)


@pytest.mark.parametrize(
    "source",
    [("", UUID, "a"), ("host", UUID), ("file:///etc", UUID, "a"), ("ftp://host", UUID, "a"), "abc", ("host", 1, "a")],
)
def test_a_source_that_is_none(source: Any) -> None:
    works, why = DVIDArrayConfig("a", source).verify()
    assert not works
    assert why.startswith("source")


@pytest.mark.parametrize(
    "extended",
    [
        {"MinPoint": None, "MaxPoint": None},
        {"MinPoint": [0, 0]},
        {"VoxelSize": "8"},
        {"Values": [{"DataType": "uint8"}, {"DataType": "float32"}]},
        {"Values": []},
        {"Values": [{"DataType": "object"}]},
    ],
)
def test_metadata_that_cannot_be(server: DvidServer, extended: dict[str, Any]) -> None:
    server.instances["grayscale"].extended = extended
    with pytest.raises(MetadataError, match="grayscale"):
        array_of(server, "grayscale")


def test_labels_are_64_bits_wide_where_nothing_is_said(server: DvidServer) -> None:
    server.instances["segmentation"].extended = {"Values": None}
    assert array_of(server, "segmentation").dtype == np.uint64


@pytest.mark.parametrize("address", ["{}", "http://{}", "http://{}/", "http://{}/api", "http://{}/api/"])
def test_forms_of_the_address(server: DvidServer, address: str) -> None:
    given = DVIDArrayConfig("a", (address.format(server.address), UUID[:6], "grayscale"))
    assert given.verify()[0] is True
    assert DVIDArray(given).roi.shape == Coordinate(84, 48, 36)


def test_https_and_names_with_special_characters() -> None:
    instance = DvidInstance.at(("https://dvid.example.org/behind", "a1", "a/b c"))
    assert instance.url == "https://dvid.example.org/behind/api/node/a1/a%2Fb%20c"


def test_config_is_stored_and_read(server: DvidServer) -> None:
    given = config(server, "grayscale")
    plain = to_plain(given)
    source = {"name": "remote", "source": [server.address, UUID, "grayscale"]}
    assert plain == {"__type__": "DVIDArrayConfig", **source, "world_unit": None}
    assert from_plain({"__type__": "DVIDArrayConfig", **source}, DVIDArrayConfig) == given
    assert from_plain(plain, DVIDArrayConfig) == given
    assert DVIDArray(given.counted_in("0.1 nm")).voxel_size == DVIDArray(given).voxel_size * 10
    assert given.verify()[0] is True


def test_nothing_is_written(server: DvidServer) -> None:
    array = array_of(server, "grayscale")
    assert array.writable is False
    with pytest.raises(StorageError, match="only read"):
        array.add_metadata({"a": 1})


def test_it_is_sent_to_another_process(server: DvidServer) -> None:
    array = pickle.loads(pickle.dumps(array_of(server, "grayscale")))
    np.testing.assert_array_equal(array[array.roi], GRAY)
    assert array._daisy_array.voxel_size == array.voxel_size


def test_neuroglancer_reads_from_the_server(server: DvidServer) -> None:
    pytest.importorskip("neuroglancer")
    array = array_of(server, "segmentation")
    assert array._can_neuroglance() is True
    assert array._source_name() == "remote"
    assert array._neuroglancer_source() == f"dvid://http://{server.address}/{UUID}/segmentation"
    layer = array._neuroglancer_layer().to_json()
    assert layer["type"] == "segmentation"
    (source,) = layer["source"]
    assert source["url"] == array._neuroglancer_source()
    dimensions = source["transform"]["outputDimensions"]
    assert dimensions == {axis: [pytest.approx(size * 1e-9), "m"] for axis, size in zip("xyz", (4, 8, 12), strict=True)}


def test_neuroglancer_shows_what_it_cannot_read_itself(server: DvidServer) -> None:
    neuroglancer = pytest.importorskip("neuroglancer")
    array = array_of(server, "colors")
    assert isinstance(array._neuroglancer_source(), neuroglancer.LocalVolume)
    assert array._neuroglancer_layer().type == "image"


def test_the_whole_address_is_checked() -> None:
    for host, scheme in itertools.product(("", ":80"), ("http://", "")):
        with pytest.raises(ConfigError, match="DVID server"):
            DvidInstance.at((scheme + host, UUID, "a"))
